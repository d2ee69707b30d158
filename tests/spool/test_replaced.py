"""
nats-server is killed between storing what replaces a schedule and purging the schedule.

Then both forms are in the queue. To test a kill after a claim, a proxy loses the purge request. To
test a schedule that fired again, the test copies its record by hand.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta

import nats
import pytest
from nats.js.api import RawStreamMsg

from postroad.spool.interface import Deferred, Held, Put, Queued, QueueState, Ready, RecordConsumer
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import stream_name
from postroad.spool.record import ADMIN, Hold
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import all_that_comes, first, kinds, now, put, take, until
from postroad.testing.queue.tcp_proxy import TcpProxy

pytestmark = pytest.mark.nats

OpenJetStream = Callable[..., Awaitable[JetStreamSpool]]
LATER = timedelta(hours=1)


def _keeps(data: bytes) -> bytes:
    for name in (b"Nats-Scheduler:", b"Nats-Schedule-Next:"):
        data = data.replace(name, name.replace(b"Nats", b"Lost"))
    return data


@pytest.fixture
async def way(server: NatsServer) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(server.url, _keeps) as way:
        yield way


async def stored(spool: JetStreamSpool, *those: WaitKind) -> Sequence[Queued]:
    selection = Selection(kinds=frozenset(those)) if those else Selection()
    return [queued async for queued in spool.waiting.list(selection)]


Claims = Callable[[QueueState], Awaitable[Put]]


@pytest.fixture
async def half_claimed(open_spool: OpenJetStream, way: TcpProxy) -> Claims:
    """Give a function that defers a record, and claims it without an end of the schedule."""
    spool = await open_spool(servers=(way.url,))

    async def claim(place: QueueState) -> Put:
        await put(spool, place=Deferred(now() + LATER))
        [queued] = await stored(spool)
        hold = Hold(ADMIN) if isinstance(place, Held) else None
        claimed = Put(queued.record.next_step(hold=hold), place)
        await spool.waiting.claim(queued, [claimed], now())
        await spool.close()
        return claimed

    return claim


async def test_what_was_claimed_takes_along_what_was_left_of_its_schedule(
    open_spool: OpenJetStream, half_claimed: Claims
) -> None:
    heir = await open_spool()
    await half_claimed(Ready())
    assert await kinds(heir) == [WaitKind.READY, WaitKind.DEFERRED]
    assert [leased.record.step for leased in await all_that_comes(heir)] == [1]
    assert await kinds(heir) == []


@pytest.mark.parametrize("place", [Ready(), Held(now() + 2 * LATER)], ids=["ready", "held"])
async def test_an_order_that_is_given_again_ends_what_was_left_of_a_schedule(
    open_spool: OpenJetStream, half_claimed: Claims, place: QueueState
) -> None:
    spool = await open_spool()
    claimed = await half_claimed(place)
    [left] = await stored(spool, WaitKind.DEFERRED)
    await spool.waiting.claim(left, [claimed], now())
    [goes_on] = await stored(spool)
    assert goes_on.record.step == 1


async def test_what_is_left_of_a_schedule_ends_though_what_took_its_place_is_done(
    open_spool: OpenJetStream, half_claimed: Claims
) -> None:
    """And the order that is given again does not make it ready once more."""
    spool = await open_spool()
    claimed = await half_claimed(Held(now() + 2 * LATER))
    [left] = await stored(spool, WaitKind.DEFERRED)
    [held] = await stored(spool, WaitKind.HELD)
    released = Put(held.record.next_step(hold=None), Ready())
    await spool.waiting.claim(held, [released], now())
    assert [leased.record.step for leased in await all_that_comes(spool)] == [2]
    await spool.waiting.claim(left, [claimed], now())
    assert await kinds(spool) == []


Fires = Callable[..., Awaitable[None]]


@pytest.fixture
async def fires_again(server: NatsServer, open_spool: OpenJetStream) -> AsyncIterator[Fires]:
    """
    Give a function that lets a schedule fire, and, called again, stores what it fired once more.

    What the server fires has it purge the schedule's subject; unless that was done `before`.
    """
    client = await nats.connect(server.url)
    jetstream = client.jetstream()
    spool = await open_spool()
    copies: list[RawStreamMsg] = []

    async def fire(*, before: bool = False) -> None:
        if not copies:
            await put(spool, place=Deferred(now()))
            await until(spool, WaitKind.READY)
            [ready] = await stored(spool, WaitKind.READY)
            stream = stream_name(ready.key.stream, ready.key.shard)
            copies.append(await jetstream.get_msg(stream, ready.key.sequence))
            return
        [copy] = copies
        headers = dict(copy.headers or {})
        if before:
            headers["Nats-Scheduler"] += ".gone"
        await jetstream.publish(copy.subject or "", copy.data or b"", headers=headers)

    yield fire
    await client.close()


async def test_a_schedule_that_fires_twice_is_delivered_once(
    open_spool: OpenJetStream, fires_again: Fires
) -> None:
    spool = await open_spool()
    await fires_again()
    await fires_again()
    assert await kinds(spool) == [WaitKind.READY, WaitKind.READY]
    assert len(await all_that_comes(spool)) == 1


async def had_one(spool: JetStreamSpool, *, left: QueueState | None = None) -> RecordConsumer:
    """Take what is ready, and end it; or leave a later form of it."""
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    await consumer.settle(leased, [Put(leased.record.next_step(), left)] if left else [])
    return consumer


async def test_what_fires_again_when_it_was_delivered_is_passed_over(
    open_spool: OpenJetStream, fires_again: Fires
) -> None:
    spool = await open_spool()
    await fires_again()
    consumer = await had_one(spool)
    await fires_again()
    await until(spool)
    await consumer.close()


async def test_what_fires_again_when_it_was_deferred_is_passed_over(
    open_spool: OpenJetStream, fires_again: Fires
) -> None:
    spool = await open_spool()
    await fires_again()
    consumer = await had_one(spool, left=Deferred(now() + LATER))
    await fires_again(before=True)
    await until(spool, WaitKind.DEFERRED)
    await consumer.close()


async def test_what_fires_again_goes_on_when_its_deferral_was_purged_with_the_schedule(
    open_spool: OpenJetStream, fires_again: Fires
) -> None:
    spool = await open_spool()
    await fires_again()
    consumer = await had_one(spool, left=Deferred(now() + LATER))
    await fires_again()
    async with asyncio.timeout(patient(10)):
        [again] = await first(consumer, 1)
    assert again.record.step == 0
    await consumer.close()
