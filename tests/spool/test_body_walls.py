"""
Who may write bodies, and does not know the random name of one, can do nothing to it.

That is ingress, tried on one server and on three.
"""

import itertools
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import nats.errors
import pytest

from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.record import BlobRef
from postroad.testing.queue.accounts import API_PREFIX, as_role
from postroad.testing.queue.queued_mail import QUICK, record
from postroad.testing.queue.walls import SHARDS, Servers, walled

pytestmark = pytest.mark.nats

ACCOUNTS = Path(__file__).parents[2] / "charts" / "postroad" / "files" / "nats-accounts.conf"
CONTENT = b"Subject: large\r\n\r\n" + b"x" * 1_200_000


@pytest.fixture(params=[1, 3])
async def servers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Servers]:
    """One server, and three."""
    async with walled(tmp_path, ACCOUNTS, replicas=request.param) as found:
        yield found


@pytest.fixture
async def delivery(servers: Servers) -> AsyncIterator[JetStreamSpool]:
    urls = [server.url for server in servers.servers]
    spool = await connect(as_role("delivery", *urls, process="d", timings=QUICK))
    yield spool
    await spool.close()


async def others_body(servers: Servers) -> BlobRef:
    """Store a body as another ingress process."""
    urls = [server.url for server in servers.servers]
    spool = await connect(as_role("ingress", *urls, process="i", timings=QUICK))
    writer = spool.write_body(lifetime=timedelta(days=5))
    await writer.write(CONTENT)
    body = await writer.finish(destinations=1)
    await spool.close()
    return body


SUBJECTS = [
    f"pr.d.{shard}.{name}.{chunk}"
    for shard in range(SHARDS)
    for name in ("*", ">", "x")
    for chunk in ("*", ">", "0", "last", "ended")
]
HEADERS = [
    {},
    {"Nats-TTL": "1s"},
    {"Nats-Rollup": "all"},
    {"Nats-Rollup": "sub"},
    {"Nats-Marker-Reason": "Purge"},
    {"KV-Operation": "PURGE"},
]
REQUESTS = [
    f"{prefix}.{what}.POSTROAD_BODY_{shard}"
    for prefix in (API_PREFIX, "$JS.API")
    for what in ("STREAM.PURGE", "STREAM.MSG.DELETE", "STREAM.DELETE", "STREAM.INFO", "DIRECT.GET")
    for shard in range(SHARDS)
]


async def test_ingress_cannot_harm_a_body_whose_name_it_does_not_know(
    servers: Servers, delivery: JetStreamSpool
) -> None:
    body = await others_body(servers)
    for subject, headers in itertools.product(SUBJECTS, HEADERS):
        with suppress(nats.errors.NoRespondersError):
            await servers.ask("ingress", subject, **headers)
    for request in REQUESTS:
        with suppress(nats.errors.NoRespondersError):
            said = await servers.ask("ingress", request, '{"seq": 1}')
            assert said["error"], request
    await servers.until_timers_ran()
    stored = record("0" * 26, content=body)
    assert b"".join([chunk async for chunk in delivery.read_body(stored)]) == CONTENT
