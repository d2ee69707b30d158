"""Processes that start when the servers have lost what they had in memory, sessions and owners."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from postroad.spool.agreement import named_site
from postroad.spool.interface import Taken, Taking
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.testing.nats_server import NatsServer
from postroad.testing.patience import patient
from postroad.testing.queued_mail import QUICK, crash_process, first, kinds, put, take

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
        self.taking = take(spool)
        self.taken: list[Taken] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for taken in self.taking:
            self.taken.append(taken)

    async def until_taken(self, count: int) -> None:
        async with asyncio.timeout(patient(20)):
            while len(self.taken) < count:
                await asyncio.sleep(0.02)

    async def end(self) -> None:
        await self.taking.stop()
        await self._task
        await self.taking.close()


async def until_owned(*takings: Taking) -> None:
    """Wait until all lanes are owned, each by one."""
    async with asyncio.timeout(patient(30)):
        while sum(len(taking.lanes) for taking in takings) < 8 or not all(
            taking.lanes for taking in takings
        ):
            owned = [lane for taking in takings for lane in taking.lanes]
            assert len(owned) == len(set(owned)), "a lane has two owners"
            await asyncio.sleep(0.02)


async def test_who_starts_takes_no_lane_of_one_that_lives_and_is_forgotten(
    open_spool: OpenJetStream, server: NatsServer
) -> None:
    """Nor the mail that is under way there. Over 5 s: sessions take 4 s to be forgotten."""
    one = Worker(await open_spool(timings=SLOW))
    await until_owned(one.taking)
    for number in range(20):
        await put(await open_spool(role="ingress"), f"b@d{number}.example")
    await one.until_taken(20)
    await server.restart()
    other = Worker(await open_spool(timings=SLOW))
    await until_owned(one.taking, other.taking)
    assert other.taken == [], "handed out while another delivers it"
    for taken in one.taken:
        await one.taking.settle(taken)
    await one.end()
    await other.end()
    assert other.taken == []
    assert len(one.taken) == 20


async def test_what_is_under_way_where_a_lane_was_left_is_not_handed_out_to_the_next_owner(
    open_spool: OpenJetStream, server: NatsServer
) -> None:
    """Over 5 s: that long a process keeps a lane in which it has mail under way."""
    ingress = await open_spool(role="ingress")
    one = Worker(await open_spool(timings=SLOW))
    await until_owned(one.taking)
    left_open = {named_site("mx.example"): 20}
    one.taking.tell_left_open(lambda: left_open)
    await put(ingress, *(f"b@d{number}.example" for number in range(20)), site="mx.example")
    await one.until_taken(20)
    other = Worker(await open_spool(timings=SLOW))
    async with asyncio.timeout(patient(30)):
        while not (other.taking.lanes and other.taking.open_elsewhere):
            await asyncio.sleep(0.02)
    await server.restart()
    new = [f"b@d{number}.example" for number in range(20)]
    await put(ingress, *new, site="mx.other.example")
    async with asyncio.timeout(patient(30)):
        while len(one.taken) + len(other.taken) < 40:
            await asyncio.sleep(0.02)
    assert {taken.record.site for taken in other.taken} == {"mx.other.example"}
    for worker in (one, other):
        for taken in worker.taken:
            await worker.taking.settle(taken)
        await worker.end()
    assert await kinds(ingress) == []


async def test_two_that_start_first_share_the_lanes_at_once(open_spool: OpenJetStream) -> None:
    workers = [Worker(spool) for spool in await _both(open_spool)]
    await until_owned(*(worker.taking for worker in workers))
    await _end(workers)


async def test_nobody_is_waited_for_who_has_stopped(
    open_spool: OpenJetStream, server: NatsServer
) -> None:
    for lives in range(2):
        spool = await open_spool(process=f"life-{lives}", timings=FOREVER)
        worker = Worker(spool)
        await until_owned(worker.taking)
        await worker.end()
        await spool.close()
        await server.restart()


async def test_nobody_is_waited_for_whose_next_life_has_begun(
    open_spool: OpenJetStream, server: NatsServer
) -> None:
    """As after a power cut: all processes of a machine start anew under their names."""
    spools = await _both(open_spool)
    dead = [Worker(spool) for spool in spools]
    await until_owned(*(worker.taking for worker in dead))
    for spool, worker in zip(spools, dead, strict=True):
        await crash_process(spool, worker.taking)
    await server.restart()
    workers = [Worker(spool) for spool in await _both(open_spool)]
    await until_owned(*(worker.taking for worker in workers))
    await _end(workers)


async def test_lanes_of_the_dead_go_to_who_starts_when_they_had_their_time(
    open_spool: OpenJetStream, server: NatsServer
) -> None:
    dead = await open_spool()
    await put(dead)
    taking = take(dead)
    await first(taking, 1)
    await crash_process(dead, taking)
    await server.restart()
    successor = take(await open_spool())
    async with asyncio.timeout(patient(20)):
        [taken] = await first(successor, 1)
    await successor.settle(taken)
    await successor.close()


async def _both(open_spool: OpenJetStream) -> list[JetStreamSpool]:
    return [await open_spool(process=name, timings=FOREVER) for name in ("one", "other")]


async def _end(workers: list[Worker]) -> None:
    for worker in workers:
        await worker.end()
