"""
A session of another role keeps no dead delivery process alive.

Every process reads the ids of delivery processes, and may write sessions of its own role under
them. The lanes of a dead process would wait for it, and its claims would take a part of sites.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from postroad.spool.agreement import SessionInfo, SiteKind, SiteView
from postroad.spool.jetstream.cluster.sessions.takers import encode
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.testing.patience import patient
from postroad.testing.queue.accounts import as_role
from postroad.testing.queue.queued_mail import QUICK, first, take
from postroad.testing.queue.walls import Servers

pytestmark = pytest.mark.nats

DEAD = SessionInfo(
    session_id="0" * 32,
    role="ingress",
    process="ingress-0",
    pool="default",
    generation=0,
    started=datetime(2026, 11, 30, tzinfo=UTC),
    taking=True,
)


@pytest.fixture
async def delivery(servers: Servers) -> AsyncIterator[JetStreamSpool]:
    """A delivery process that knows a session of ingress under the id of a dead process."""
    client = servers.clients["ingress"]
    await client.request(f"$KV.presence.session.ingress.{DEAD.session_id}", encode(DEAD))
    spool = await connect(as_role("delivery", servers.servers[0].url, timings=QUICK))
    assert replace(DEAD, taking=False) in await spool.sessions.live()
    yield spool
    await spool.close()


async def test_the_lanes_of_a_dead_process_are_taken(
    servers: Servers, delivery: JetStreamSpool
) -> None:
    lanes = [f"p{number:02}" for number in range(delivery.layout.lanes)]
    for lane in lanes:
        key = f"$KV.presence.owner.default.{lane}"
        await servers.clients["delivery"].request(key, DEAD.session_id.encode())
    consumer = take(delivery)
    taking = asyncio.create_task(first(consumer, 1))
    async with asyncio.timeout(patient(10)):
        while len(consumer.lanes) < len(lanes):
            await asyncio.sleep(0.02)
    taking.cancel()
    await consumer.close()


async def test_the_claims_of_a_dead_process_do_not_count(delivery: JetStreamSpool) -> None:
    records, views = delivery.site_records, list[SiteView]()

    def look(view: SiteView) -> bytes:
        views.append(view)
        return b"x"

    await records.change(SiteKind.CONNECTIONS, "a site", look, lifetime=timedelta(minutes=1))
    assert views[-1].live == {records.owner}
    assert records.lives(records.owner)
    assert not records.lives(DEAD.session_id)
