"""Mail in a pool that no Relay names and no process serves: one process of `default` takes it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import pytest
from pydantic import TypeAdapter, ValidationError

from postroad.manifests.kinds.types import PoolName
from postroad.spool.interface import Deferred, RecordConsumer
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.timings import Timings
from postroad.spool.lanes.owners import in_turn, is_pool_name
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import QUICK, first, now, put, take

pytestmark = pytest.mark.nats

OpenJetStream = Callable[..., Awaitable[JetStreamSpool]]
GONE = "gone"
# Looks as quick as elsewhere here, and sessions that last on a busy machine: whose session has
# ended has no mail to keep.
LASTING = Timings(renewal=QUICK.renewal, pools=QUICK.pools)


async def put_20(spool: JetStreamSpool) -> set[str]:
    return {await put(spool, f"b@d{number}.example", pool=GONE) for number in range(20)}


async def reported(spool: JetStreamSpool) -> set[str]:
    """Return the pools that sessions tell of as without a process of their own."""
    return {pool for each in await spool.sessions.live() for pool in each.unserved}


class Sink:
    """Takes and settles all that comes, and keeps what it was."""

    def __init__(self, consumer: RecordConsumer) -> None:
        self.consumer = consumer
        self.seen: list[str] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for leased in self.consumer:
            self.seen.append(leased.record.record_id.queue_id)
            await self.consumer.settle(leased)

    async def end(self) -> None:
        await self.consumer.stop()
        await self._task
        await self.consumer.close()


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(patient(20)):
        while not await true():
            await asyncio.sleep(0.05)


async def test_all_processes_of_default_together_take_it_and_nothing_twice(
    open_spool: OpenJetStream,
) -> None:
    spools = [await open_spool() for _ in range(2)]
    sinks = [Sink(take(spool)) for spool in spools]

    async def shared_out() -> bool:
        lanes = [sink.consumer.lanes for sink in sinks]
        return all(lanes) and not lanes[0] & lanes[1]

    await until(shared_out)
    put_there = await put_20(spools[0])

    async def all_came() -> bool:
        return sum(len(sink.seen) for sink in sinks) >= len(put_there)

    await until(all_came)
    assert all(sink.seen for sink in sinks), "each has lanes of it"
    assert sorted(sinks[0].seen + sinks[1].seen) == sorted(put_there)

    async def forgotten() -> bool:
        return not await reported(spools[0])

    await until(forgotten)  # an empty pool costs nothing
    for sink in sinks:
        await sink.end()


async def test_deferred_mail_is_found_when_it_is_due(spool: JetStreamSpool) -> None:
    sink = Sink(take(spool))
    due = Deferred(now() + timedelta(seconds=1.5))
    queue_id = await put(spool, pool=GONE, place=due)

    async def came() -> bool:
        return sink.seen == [queue_id]

    await until(came)
    await sink.end()


async def test_a_pool_with_a_process_of_its_own_keeps_its_mail(open_spool: OpenJetStream) -> None:
    default = await open_spool(timings=LASTING)
    other = await open_spool(pool=GONE, timings=LASTING)
    sink = Sink(take(default))
    own = other.take(pool=GONE, room=100, room_bytes=10_000_000)
    coming = asyncio.create_task(first(own, 20))

    async def both_take() -> bool:
        return sum(each.taking for each in await default.sessions.live()) == 2

    await until(both_take)  # before, it would be mail without a process of its own
    put_there = await put_20(default)
    async with asyncio.timeout(patient(20)):
        leased = await coming
    assert {each.record.record_id.queue_id for each in leased} == put_there
    await asyncio.sleep(1)  # three looks: what is in hand is in the stream
    assert await reported(default) == set()
    assert sink.seen == []
    for each in leased:
        await own.settle(each)
    await own.stop()
    await own.close()
    await sink.end()


async def test_when_who_looked_has_ended_another_does(open_spool: OpenJetStream) -> None:
    spools = [await open_spool() for _ in range(2)]
    sinks = {spool.sessions.session_id: Sink(take(spool)) for spool in spools}

    async def both_take() -> bool:
        return sum(each.taking for each in await spools[0].sessions.live()) == 2

    await until(both_take)
    looker = min(sinks)
    await sinks.pop(looker).end()
    [heir] = sinks.values()
    put_there = await put_20(spools[0])

    async def all_came() -> bool:
        return set(heir.seen) == put_there

    await until(all_came)
    assert len(heir.seen) == len(put_there)
    await heir.end()


async def test_a_session_that_would_be_too_large_is_stored_without_what_others_can_miss(
    spool: JetStreamSpool,
) -> None:
    """A process that cannot renew its session considers itself dead."""
    before = spool.sessions.confirmed
    await spool.sessions.set_unserved(tuple(f"{number}{'p' * 60}" for number in range(40_000)))
    assert spool.sessions.confirmed > before
    [own] = await spool.sessions.live()
    assert (own.session_id, own.unserved) == (spool.sessions.session_id, ())


def test_a_few_pools_are_served_at_a_time_each_in_its_turn() -> None:
    found = [f"p{number:02d}" for number in range(25)]

    def served(line: Mapping[str, float | None]) -> list[str]:
        return sorted(pool for pool, since in line.items() if since is not None)

    line = in_turn({}, found, 0.0)
    assert served(line) == found[:10]
    line = in_turn(line, found[3:], 599.0)
    assert served(line) == found[:10], "their consumers stay for a while"
    line = in_turn(line, ["new", *found[3:]], 600.0)
    assert served(line) == found[10:20]
    line = in_turn(line, ["new", *found[3:]], 1200.0)
    assert served(line) == ["new", *found[3:7], *found[20:]]
    assert in_turn(line, (), 1800.0) == {}


def test_pools_of_relays_have_names_of_pools() -> None:
    rule = TypeAdapter(PoolName)
    for name in ("a", "default", "0-1", "a" * 63):
        assert is_pool_name(rule.validate_python(name))
    for name in ("", "-", "A", "a.b", "a_b", "a\n", "\u0661", "a" * 64):
        assert not is_pool_name(name)
        with pytest.raises(ValidationError):
            rule.validate_python(name)
