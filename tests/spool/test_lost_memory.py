"""Processes that start when the servers have lost their memory: sessions and lane owners."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from postroad.spool.agreement import SessionInfo, named_site
from postroad.spool.interface import LeasedRecord, RecordConsumer
from postroad.spool.jetstream.cluster.sessions.takers import Takers
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.nats.key_value import Bucket
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import QUICK, crash_process, first, kinds, put, take

pytestmark = pytest.mark.nats

OpenJetStream = Callable[..., Awaitable[JetStreamSpool]]
# It writes its session again late, and is not taken for dead before.
SLOW = replace(
    QUICK,
    session_life=timedelta(seconds=4),
    renewal=timedelta(seconds=1),
    self_doubt=timedelta(seconds=3),
    ack_wait=timedelta(seconds=20),
    lease_fresh=timedelta(seconds=12),
)
# Who waits until those before are dead waits for longer than any test.
FOREVER = replace(QUICK, session_life=timedelta(hours=1))


class Worker:
    """A process that takes mail and has it under way until told otherwise."""

    def __init__(self, spool: JetStreamSpool) -> None:
        self.consumer = take(spool)
        self.leased: list[LeasedRecord] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for leased in self.consumer:
            self.leased.append(leased)

    async def until_taken(self, count: int) -> None:
        async with asyncio.timeout(patient(20)):
            while len(self.leased) < count:
                await asyncio.sleep(0.02)

    async def end(self) -> None:
        await self.consumer.stop()
        await self._task
        await self.consumer.close()


async def until_owned(*consumers: RecordConsumer) -> None:
    """Wait until all lanes are owned, each by one."""
    async with asyncio.timeout(patient(30)):
        while sum(len(consumer.lanes) for consumer in consumers) < 8 or not all(
            consumer.lanes for consumer in consumers
        ):
            owned = [lane for consumer in consumers for lane in consumer.lanes]
            assert len(owned) == len(set(owned)), "a lane has two owners"
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("operator")
async def test_who_starts_takes_no_lane_of_one_that_lives_and_is_forgotten(
    open_spool: OpenJetStream, server: NatsServer
) -> None:
    """Nor the mail that is under way there. Over 5 s: sessions take 4 s to be forgotten."""
    one = Worker(await open_spool(timings=SLOW))
    await until_owned(one.consumer)
    for number in range(20):
        await put(await open_spool(role="ingress"), f"b@d{number}.example")
    await one.until_taken(20)
    await server.restart()
    other = Worker(await open_spool(timings=SLOW))
    await until_owned(one.consumer, other.consumer)
    assert other.leased == [], "handed out while another delivers it"
    for leased in one.leased:
        await one.consumer.settle(leased)
    await one.end()
    await other.end()
    assert other.leased == []
    assert len(one.leased) == 20


async def test_what_is_under_way_where_a_lane_was_left_is_not_handed_out_to_the_next_owner(
    open_spool: OpenJetStream, server: NatsServer
) -> None:
    """Over 5 s: that long a process keeps a lane in which it has mail under way."""
    ingress = await open_spool(role="ingress")
    one = Worker(await open_spool(timings=SLOW))
    await until_owned(one.consumer)
    left_open = {named_site("mx.example"): 20}
    one.consumer.tell_left_open(lambda: left_open)
    await put(ingress, *(f"b@d{number}.example" for number in range(20)), site="mx.example")
    await one.until_taken(20)
    other = Worker(await open_spool(timings=SLOW))
    async with asyncio.timeout(patient(30)):
        while not (other.consumer.lanes and other.consumer.open_elsewhere):
            await asyncio.sleep(0.02)
    await open_spool(role="operator")  # last: the order of sessions decides who has which lanes
    await server.restart()
    new = [f"b@d{number}.example" for number in range(20)]
    await put(ingress, *new, site="mx.other.example")
    async with asyncio.timeout(patient(30)):
        while len(one.leased) + len(other.leased) < 40:
            await asyncio.sleep(0.02)
    assert {leased.record.site for leased in other.leased} == {"mx.other.example"}
    for worker in (one, other):
        for leased in worker.leased:
            await worker.consumer.settle(leased)
        await worker.end()
    assert await kinds(ingress) == []


@pytest.mark.usefixtures("operator")
async def test_nobody_waits_for_one_that_had_ended_before_the_server_was_killed(
    open_spool: OpenJetStream, open_link: Callable[[], Awaitable[Link]], server: NatsServer
) -> None:
    """Its note may come back when what deleted it has expired. It takes 3 s until it could."""
    process = await connect(SpoolOptions(servers=(server.url,), timings=QUICK))
    ended = Worker(process)
    await until_owned(ended.consumer)
    await ended.end()
    await process.close()
    bucket = Bucket(await open_link(), "cluster")
    await bucket.put("moment", b"", lifetime=timedelta(seconds=2))
    async with asyncio.timeout(patient(10)):
        while await bucket.get("moment") is not None:
            await asyncio.sleep(0.1)
    await server.restart()
    other = Worker(await open_spool(timings=FOREVER))
    await until_owned(other.consumer)
    await other.end()


async def test_two_that_start_first_share_the_lanes_at_once(open_spool: OpenJetStream) -> None:
    workers = [Worker(spool) for spool in await _both(open_spool)]
    await until_owned(*(worker.consumer for worker in workers))
    await _end(workers)


async def test_who_starts_beside_another_has_its_lanes_when_that_one_has_told(
    open_spool: OpenJetStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not when it looks at all sessions next, which takes seconds."""
    note, noted, told = Takers.note, asyncio.Event(), asyncio.Event()

    async def note_and_wait(takers: Takers, info: SessionInfo) -> None:
        await note(takers, info)
        if info.process == "one":
            noted.set()
            await told.wait()

    monkeypatch.setattr(Takers, "note", note_and_wait)
    seldom = replace(FOREVER, renewal=timedelta(hours=1), self_doubt=timedelta(hours=2))
    one, other = [await open_spool(process=name, timings=seldom) for name in ("one", "other")]
    workers = [Worker(one)]
    async with asyncio.timeout(patient(10)):
        await noted.wait()
        workers.append(Worker(other))
        while not any(info.taking for info in other.sessions.seen):
            await asyncio.sleep(0.02)
    assert not workers[1].consumer.lanes, "of one that may own them"
    told.set()
    await until_owned(*(worker.consumer for worker in workers))
    await _end(workers)


@pytest.mark.usefixtures("operator")
async def test_nobody_is_waited_for_who_has_stopped(
    open_spool: OpenJetStream, server: NatsServer
) -> None:
    for lives in range(2):
        spool = await open_spool(process=f"life-{lives}", timings=FOREVER)
        worker = Worker(spool)
        await until_owned(worker.consumer)
        await worker.end()
        await spool.close()
        await server.restart()


@pytest.mark.usefixtures("operator")
async def test_nobody_is_waited_for_whose_next_life_has_begun(
    open_spool: OpenJetStream, server: NatsServer
) -> None:
    """As after a power cut: all processes of a machine start anew under their names."""
    spools = await _both(open_spool)
    dead = [Worker(spool) for spool in spools]
    await until_owned(*(worker.consumer for worker in dead))
    for spool, worker in zip(spools, dead, strict=True):
        await crash_process(spool, worker.consumer)
    await server.restart()
    workers = [Worker(spool) for spool in await _both(open_spool)]
    await until_owned(*(worker.consumer for worker in workers))
    await _end(workers)


@pytest.mark.usefixtures("operator")
async def test_lanes_of_the_dead_go_to_who_starts_when_they_had_their_time(
    open_spool: OpenJetStream, server: NatsServer
) -> None:
    dead = await open_spool()
    await put(dead)
    consumer = take(dead)
    await first(consumer, 1)
    await crash_process(dead, consumer)
    await server.restart()
    successor = take(await open_spool())
    async with asyncio.timeout(patient(20)):
        [leased] = await first(successor, 1)
    await successor.settle(leased)
    await successor.close()


async def _both(open_spool: OpenJetStream) -> list[JetStreamSpool]:
    return [await open_spool(process=name, timings=FOREVER) for name in ("one", "other")]


async def _end(workers: list[Worker]) -> None:
    for worker in workers:
        await worker.end()
