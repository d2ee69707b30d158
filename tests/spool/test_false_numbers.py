"""
Sessions that nobody has keep no ingress process from accepting large mail.

Each process takes a part of the room in storage for content that is not accepted yet, and divides
by the number of processes. That number is what sessions tell.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from postroad.spool.agreement import SessionInfo
from postroad.spool.jetstream.bodies.writer import LEAST_CHUNK
from postroad.spool.jetstream.cluster.sessions.takers import encode
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.streams.disk import encoded
from postroad.testing.patience import patient
from postroad.testing.queue.accounts import as_role
from postroad.testing.queue.queued_mail import QUICK
from postroad.testing.queue.walls import Servers, walled

pytestmark = pytest.mark.nats

ACCOUNTS = Path(__file__).parents[2] / "charts" / "postroad" / "files" / "nats-accounts.conf"
LIMIT = 40_000_000
FALSE = SessionInfo(
    session_id="",
    role="ingress",
    process="ingress-0",
    pool="default",
    generation=0,
    started=datetime(2026, 11, 30, tzinfo=UTC),
)


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    async with walled(tmp_path, ACCOUNTS, replicas=1) as running:
        await running.ask("operator", "$KV.cluster.capacity", str(LIMIT))
        yield running


async def test_false_sessions_keep_nobody_from_accepting_large_mail(servers: Servers) -> None:
    spool = await connect(as_role("ingress", servers.servers[0].url, timings=QUICK))
    client, operator = servers.clients["ingress"], servers.clients["operator"]
    for number in range(2000):
        session = replace(FALSE, session_id=f"e{number}")
        await client.publish(f"$KV.presence.session.ingress.e{number}", encode(session))
    await client.flush()
    async with asyncio.timeout(patient(15)):
        while len(await spool.sessions.live()) <= 2000:
            await asyncio.sleep(0.05)
        # The process has read how much room there is when it refuses mail for want of it.
        await operator.request("$KV.presence.disk.a", encoded(0))
        while spool.accepting:
            await asyncio.sleep(0.05)
        await operator.request("$KV.presence.disk.a", encoded(10 * LIMIT))
        while not spool.accepting:
            await asyncio.sleep(0.05)
    writer = spool.write_body(lifetime=timedelta(days=5), known=True)
    for _ in range(4_500_000 // LEAST_CHUNK):
        await writer.write(b"x" * LEAST_CHUNK)
    await writer.finish(destinations=1)
    await spool.close()
