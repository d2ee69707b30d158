"""Standing requests for records: what they bring, and that they end with the lane."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from postroad.mail.traffic import TrafficClass
from postroad.spool.ids import shard_of
from postroad.spool.interface import Put, Ready
from postroad.spool.jetstream.consume.pull import Delivered, LanePull, Puller
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.assignment import LaneKey
from postroad.testing.patience import patient
from postroad.testing.queued_mail import now, record

pytestmark = pytest.mark.nats

OpenJetStream = Callable[..., Awaitable[JetStreamSpool]]
RECORDS = 40


class Asking:
    """A process's requests for one lane of one shard, with room for as much as the test says."""

    def __init__(self, spool: JetStreamSpool, lane: str) -> None:
        self.key = LaneKey("default", lane)
        self.room = 0
        self.come: asyncio.Queue[Delivered] = asyncio.Queue()
        self.puller = Puller(
            spool._link,
            spool._requests,
            ack_wait=timedelta(seconds=20),
            room=lambda _: self.room,
            deliver=self._deliver,
        )

    def _deliver(self, delivered: Delivered) -> None:
        self.room -= 1
        self.come.put_nowait(delivered)

    async def begin(self, *, room: int) -> None:
        """Ask for so many records, and for no more when they have come."""
        self.room = room
        await self.puller.start()
        for traffic_class in TrafficClass:
            self.puller.add(LanePull(0, self.key, traffic_class))
        await self.puller.refill_all()

    async def sequences(self, count: int) -> list[int]:
        """Wait for so many records, asking for more where there is room."""
        found: list[int] = []
        async with asyncio.timeout(patient(20)):
            while len(found) < count:
                found.append((await self.come.get()).sequence)
                await self.puller.refill()
        return found


async def fill(spool: JetStreamSpool) -> str:
    """Put RECORDS records into one lane of shard 0; return the lane."""
    stored = 0
    while stored < RECORDS:
        queue_id = spool.new_queue_id(now())
        if shard_of(queue_id) == 0:
            await spool._publisher.publish(
                [Put(record(queue_id), Ready())], shard=0, timeout=timedelta(seconds=5)
            )
            stored += 1
    return spool.lane_of(record(spool.new_queue_id(now())))


async def test_nothing_more_is_asked_of_a_lane_that_was_left(open_spool: OpenJetStream) -> None:
    """Though there was room for more a moment later: its limits are its next owner's alone."""
    spool = await open_spool()
    lane = await fill(spool)
    leaving, heir = Asking(spool, lane), Asking(await open_spool(), lane)
    await leaving.begin(room=16)
    first = await leaving.sequences(16)
    await leaving.puller.remove(leaving.key)
    leaving.room = 16
    await leaving.puller.refill()
    await heir.begin(room=RECORDS)
    rest = await heir.sequences(RECORDS - 16)
    assert len({*first, *rest}) == RECORDS
    for asking in (leaving, heir):
        await asking.puller.stop()
