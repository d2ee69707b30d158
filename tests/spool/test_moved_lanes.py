"""
New mail of a lane that changes hands on three servers, whose accounts hide who is still there.

A server keeps the standing requests of a lane's former owner, and through the import of an account
it does not see that nobody listens to the answers any more.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroad.spool.interface import RecordConsumer
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.layout import Layout
from postroad.testing.patience import patient
from postroad.testing.queue.accounts import as_role
from postroad.testing.queue.nats_cluster import NatsCluster, provisioned
from postroad.testing.queue.queued_mail import put, take

pytestmark = [pytest.mark.nats, pytest.mark.faults]

ACCOUNTS = Path(__file__).parents[2] / "charts" / "postroad" / "files" / "nats-accounts.conf"
LAYOUT = Layout(shards=2, lanes=16, replicas=3)
LATE = 12.0  # seconds; a lease that nobody has lasts 20


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    async with NatsCluster(tmp_path, accounts=ACCOUNTS, shards=LAYOUT.shards) as running:
        await provisioned(as_role("operator", *running.urls), layout=LAYOUT)
        yield running


class Receiver:
    """A delivery process that takes what comes, and notes when."""

    def __init__(self, spool: JetStreamSpool, came: dict[str, float]) -> None:
        self.spool = spool
        self.consumer: RecordConsumer = take(spool, room=500)
        self._came = came
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for leased in self.consumer:
            self._came[leased.record.record_id.queue_id] = time.monotonic()
            await self.consumer.settle(leased)

    async def end(self) -> None:
        await self.consumer.stop()
        await self.consumer.close()
        await self._task
        await self.spool.close()


class Sender:
    """An ingress process that stores a message for another domain every 50 ms."""

    def __init__(self, spool: JetStreamSpool) -> None:
        self._spool = spool
        self.sent: dict[str, float] = {}
        self._ending = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while not self._ending.is_set():
            begun = time.monotonic()
            self.sent[await put(self._spool, f"a@d{len(self.sent)}.example")] = begun
            await asyncio.sleep(0.05)

    async def end(self) -> None:
        self._ending.set()
        await self._task
        await self._spool.close()


async def test_mail_is_not_late_when_processes_come_and_go(cluster: NatsCluster) -> None:
    """Takes 25 s: as long as the requests of a process that has left stand, four times."""
    came: dict[str, float] = {}
    running = [await _start(cluster, "0", came)]
    await _settled(running)
    sender = Sender(await connect(as_role("ingress", *cluster.urls, process="ingress")))
    for name in ("1", "2"):
        running.append(await _start(cluster, name, came))
        await _settled(running)
    while len(running) > 1:
        await running.pop(0).end()
        await _settled(running)
    await sender.end()
    async with asyncio.timeout(patient(40)):
        while len(came) < len(sender.sent):
            await asyncio.sleep(0.1)
    await running[0].end()
    waited = [came[queue_id] - begun for queue_id, begun in sender.sent.items()]
    assert max(waited) < LATE


async def _start(cluster: NatsCluster, name: str, came: dict[str, float]) -> Receiver:
    return Receiver(await connect(as_role("delivery", *cluster.urls, process=name)), came)


async def _settled(running: list[Receiver]) -> None:
    """Wait until each has its share of lanes."""
    async with asyncio.timeout(patient(40)):
        while True:
            has = [len(each.consumer.lanes) for each in running]
            if sum(has) == LAYOUT.lanes and all(has):
                return
            await asyncio.sleep(0.05)
