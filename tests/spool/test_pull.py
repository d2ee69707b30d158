"""Pull requests for records: what they bring, and that they end with the lane."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from postroad.mail.traffic import TrafficClass
from postroad.spool.ids import shard_of
from postroad.spool.interface import Put, Ready
from postroad.spool.jetstream.consume.pull.delivered import Delivered
from postroad.spool.jetstream.consume.pull.lane_pull import LanePull
from postroad.spool.jetstream.consume.pull.open_requests import OpenRequest, OpenRequests
from postroad.spool.jetstream.consume.pull.puller import Puller
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.owners import LaneKey
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import SECOND, now, record

pytestmark = pytest.mark.nats

RECORDS = 40


class Asking:
    """A process's requests for one lane of one shard, with room for as much as the test says."""

    def __init__(self, link: NatsLink, requests: Requests, lane: str) -> None:
        self.key = LaneKey("default", lane)
        self.room = 0
        self.come: asyncio.Queue[Delivered] = asyncio.Queue()
        self.puller = Puller(link, requests, ack_wait=timedelta(seconds=20))

    def room_for(self, pull: LanePull) -> int:
        return self.room - pull.asked

    def deliver(self, delivered: Delivered) -> None:
        self.room -= 1
        self.come.put_nowait(delivered)

    async def begin(self, *, room: int) -> None:
        """Ask for so many records, and for no more when they have come."""
        self.room = room
        await self.puller.start(self)
        for traffic_class in TrafficClass:
            self.puller.add(LanePull(0, self.key, traffic_class))
        await self.puller.refill_all()

    async def sequences(self, count: int) -> list[int]:
        """Wait for so many records, asking for more where there is room."""
        found: list[int] = []
        async with asyncio.timeout(patient(20)):
            while len(found) < count:
                found.append((await self.come.get()).key.sequence)
                await self.puller.refill()
        return found


async def fill(spool: JetStreamSpool, content: bytes = b"body") -> str:
    """Put RECORDS records into one lane of shard 0; return the lane."""
    stored = 0
    while stored < RECORDS:
        queue_id = spool.new_queue_id(now())
        if shard_of(queue_id) == 0:
            await spool.accept(
                queue_id,
                lambda queue_id: [Put(record(queue_id, content=content), Ready())],
                timeout=patient(5) * SECOND,
            )
            stored += 1
    return spool.lane_of(record(spool.new_queue_id(now())))


@asynccontextmanager
async def asking(
    server: NatsServer, lane: str, kind: type[Asking] = Asking
) -> AsyncIterator[Asking]:
    """Connect as one more process that asks for a lane's records."""
    link = NatsLink(SpoolOptions(servers=(server.url,)).access())
    await link.open()
    requests = Requests(link)
    await requests.start()
    process = kind(link, requests, lane)
    yield process
    await process.puller.stop()
    await link.close()


async def test_nothing_more_is_asked_of_a_lane_that_was_left(
    spool: JetStreamSpool, server: NatsServer
) -> None:
    """Though there was room for more a moment later: its limits are its next owner's alone."""
    lane = await fill(spool)
    async with asking(server, lane) as leaving, asking(server, lane) as heir:
        await leaving.begin(room=16)
        first = await leaving.sequences(16)
        await leaving.puller.remove(leaving.key)
        leaving.room = 16
        await leaving.puller.refill()
        await heir.begin(room=RECORDS)
        rest = await heir.sequences(RECORDS - 16)
    assert len({*first, *rest}) == RECORDS


class LaneOfTwo(Asking):
    """It asks for one lane of two shards, and has so many places for both."""

    def room_for(self, pull: LanePull) -> int:
        return self.room - self.puller.coming(self.key)

    async def begin(self, *, room: int) -> None:
        """Ask as if a backlog in shard 1 had just ended."""
        await self.puller.start(self)
        ended = LanePull(1, self.key, TrafficClass.TRANSACTIONAL)
        self.room = room + ended.idle
        ended.batch = self.room
        self.puller.add(ended)
        await self.puller.refill_all()
        while not ended.asked:
            await asyncio.sleep(0.01)
        self.room = room
        self.puller.add(LanePull(0, self.key, TrafficClass.TRANSACTIONAL))


async def test_places_are_not_kept_for_long_for_a_shard_that_has_nothing_more(
    spool: JetStreamSpool, server: NatsServer
) -> None:
    """Ten seconds is how long the request of an idle lane stands."""
    lane = await fill(spool)
    async with asking(server, lane, LaneOfTwo) as process:
        await process.begin(room=RECORDS)
        assert process.puller.coming(process.key) == RECORDS
        async with asyncio.timeout(patient(5)):
            while process.come.qsize() < RECORDS:
                await process.puller.refill_all()
                await asyncio.sleep(0.05)


async def test_what_came_of_a_request_is_known_when_the_server_ends_it(
    spool: JetStreamSpool, server: NatsServer
) -> None:
    """A record comes under its own subject, and not under that of the request."""
    lane = await fill(spool)
    async with asking(server, lane) as process:
        busy = LanePull(0, process.key, TrafficClass.TRANSACTIONAL)
        busy.batch = process.room = RECORDS + 60
        await process.puller.start(process)
        process.puller.add(busy)
        await process.puller.refill_all()
        async with asyncio.timeout(patient(5)):
            while busy.batch > RECORDS:  # the server ends it after a second
                await asyncio.sleep(0.05)
    assert busy.batch == RECORDS


def test_a_busy_lane_asks_next_for_as_many_as_have_come() -> None:
    pull = LanePull(0, LaneKey("default", "00"), TrafficClass.TRANSACTIONAL)
    pull.batch = pull.asked = 256
    for _ in range(100):
        pull.arrived(1.0)
    pull.ended(156, 2.0, came=100)
    assert pull.wants(1000, 2.0) == 100


@pytest.mark.parametrize("size", [40_000, 120_000])
async def test_records_that_do_not_fit_into_one_request_come_by_several(
    spool: JetStreamSpool, server: NatsServer, size: int
) -> None:
    """At once: nobody lets go of one meanwhile, and no look from time to time asks again."""
    lane = await fill(spool, b"x" * size)
    async with asking(server, lane) as process:
        await process.begin(room=RECORDS)
        assert len(set(await process.sequences(RECORDS))) == RECORDS


def test_a_record_that_is_larger_than_a_request_is_asked_for_alone() -> None:
    pull = LanePull(0, LaneKey("default", "00"), TrafficClass.TRANSACTIONAL)
    pull.asked = 16
    pull.filled(16, 16, 1.0)
    assert b"max_bytes" not in pull.request(16)
    pull.asked = 1
    pull.arrived(2.0)
    assert b"max_bytes" in pull.request(16)


def test_a_request_of_which_nothing_is_heard_any_more_is_made_again() -> None:
    """As where the server went away without a word: else its lane's mail would lie for good."""
    pull = LanePull(0, LaneKey("default", "00"), TrafficClass.TRANSACTIONAL)
    asked = pull.wants(100, 50.0)
    pull.asked, pull.heard = asked, 50.0
    assert pull.wants(100, 55.0) == 0, "the server says that it is there each 5 s"
    pull.heard = 55.0
    assert pull.wants(100, 65.0) == 0
    assert pull.wants(100, 67.0) == asked


def test_a_request_is_forgotten_once_nothing_can_come_of_it() -> None:
    """As where the server has lost it."""
    pull = LanePull(0, LaneKey("default", "00"), TrafficClass.TRANSACTIONAL)
    requests = OpenRequests()
    for number in range(100):
        requests.add(f"inbox.{number}", OpenRequest(pull, 8, since=float(number)))
        requests.forget(float(number))
    assert len(requests) < 50
    assert requests.get("inbox.99") is not None


def test_records_come_of_a_lanes_requests_in_order() -> None:
    """The server says nothing of one all of whose records have come."""
    pull = LanePull(0, LaneKey("default", "00"), TrafficClass.TRANSACTIONAL)
    requests, first, second = OpenRequests(), OpenRequest(pull, 2, 0.0), OpenRequest(pull, 2, 1.0)
    requests.add("inbox.1", first)
    requests.add("inbox.2", second)
    for _ in range(3):
        requests.arrived(pull)
    assert (first.came, second.came) == (2, 1)
    requests.end("inbox.2")
    requests.arrived(pull)
    assert (first.came, second.came) == (2, 1), "none of them expects another record"
    requests.forget(100.0)
    assert len(requests) == 0
