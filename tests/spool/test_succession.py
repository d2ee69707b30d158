"""
A delivery process dies between storing a record's successor and acknowledging the record.

Then both are in the queue. A proxy that loses acknowledgements plays the process that was killed
before it could send one.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest

from postroad.spool.interface import Deferred, Held, Put, QueueState, Ready
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import (
    SECOND,
    all_that_comes,
    first,
    kinds,
    now,
    put,
    take,
    until,
)
from postroad.testing.queue.tcp_proxy import TcpProxy

pytestmark = pytest.mark.nats

OpenJetStream = Callable[..., Awaitable[JetStreamSpool]]
LATER = timedelta(hours=1)


class Deaf(TcpProxy):
    """A way to nats-server on which acknowledgements get lost."""

    def __init__(self, server: NatsServer) -> None:
        super().__init__(server.url, self._lose)
        self.lost_one = asyncio.Event()

    def _lose(self, data: bytes) -> bytes:
        if b"+ACK" not in data:
            return data
        self.lost_one.set()
        return b""


@pytest.fixture
async def way(server: NatsServer) -> AsyncIterator[Deaf]:
    async with Deaf(server) as way:
        yield way


Dies = Callable[[QueueState], Awaitable[None]]


@pytest.fixture
async def dies_settling(open_spool: OpenJetStream, way: Deaf) -> Dies:
    """Give a function that takes a record, puts what follows of it somewhere, and dies."""
    spool = await open_spool(servers=(way.url,))

    async def die(place: QueueState) -> None:
        consumer = take(spool)
        [leased] = await first(consumer, 1)
        follows = Put(leased.record.next_step(), place)
        settling = asyncio.create_task(consumer.settle(leased, [follows]))
        await asyncio.wait_for(way.lost_one.wait(), patient(10))
        settling.cancel()
        await consumer.stop()
        await spool.close()

    return die


@pytest.mark.parametrize("place", [Deferred(now() + LATER), Held(now() + LATER)], ids=["s", "h"])
async def test_what_waits_goes_on_alone(
    open_spool: OpenJetStream, dies_settling: Dies, place: QueueState
) -> None:
    heir = await open_spool()
    await put(heir)
    await dies_settling(place)
    assert await all_that_comes(heir) == []
    [left] = [queued async for queued in heir.waiting.list(Selection())]
    assert left.record.step == 1


@pytest.mark.usefixtures("operator")
async def test_what_waits_goes_on_alone_when_the_servers_have_forgotten_who_had_the_record(
    open_spool: OpenJetStream, dies_settling: Dies, server: NatsServer
) -> None:
    """As after a power cut: the record is handed out for the first time, by all they know."""
    await put(await open_spool())
    await dies_settling(Deferred(now() + LATER))
    await server.restart()
    heir = await open_spool()
    assert await all_that_comes(heir) == []
    assert await kinds(heir) == [WaitKind.DEFERRED]


@pytest.mark.parametrize("place", [Deferred(now()), Ready()], ids=["due", "ready"])
async def test_what_is_ready_before_the_record_comes_again_is_delivered_once(
    open_spool: OpenJetStream, dies_settling: Dies, place: QueueState
) -> None:
    heir = await open_spool()
    await put(heir)
    await dies_settling(place)
    await until(heir, WaitKind.READY, WaitKind.READY)
    assert [leased.record.step for leased in await all_that_comes(heir)] == [1]


Orders = Callable[[JetStreamSpool], Awaitable[None]]


async def claim(spool: JetStreamSpool, place: QueueState) -> None:
    """Put what waits elsewhere, as an order on it does."""
    async for queued in spool.waiting.list(Selection()):
        if queued.kind is not WaitKind.READY:
            await spool.waiting.claim(queued, [Put(queued.record.next_step(), place)], now())


async def retry(spool: JetStreamSpool) -> None:
    await claim(spool, Ready())


async def hold_and_release(spool: JetStreamSpool) -> None:
    await claim(spool, Held(now() + 2 * LATER))
    await claim(spool, Ready())


async def end_some_recipients_and_retry(spool: JetStreamSpool) -> None:
    await claim(spool, Deferred(now() + LATER))
    await claim(spool, Ready())


async def bring_forward(spool: JetStreamSpool) -> None:
    await claim(spool, Deferred(now()))


async def renew_and_retry(spool: JetStreamSpool) -> None:
    """As if the server had not fired a schedule that is overdue."""
    lanes = [f"p{number:02d}" for number in range(spool.layout.lanes)]
    later = now() + 2 * LATER
    assert await spool.waiting.renew_overdue(lanes, now(), lambda: later, pause=0 * SECOND) == 1
    await claim(spool, Ready())


@pytest.mark.parametrize(
    ("order", "waits"),
    [
        (retry, LATER),
        (retry, timedelta(minutes=1)),
        (hold_and_release, LATER),
        (end_some_recipients_and_retry, LATER),
        (bring_forward, LATER),
        (renew_and_retry, LATER),
    ],
)
async def test_what_an_order_makes_ready_before_the_record_comes_again_is_delivered_once(
    open_spool: OpenJetStream, dies_settling: Dies, order: Orders, waits: timedelta
) -> None:
    heir = await open_spool()
    await put(heir)
    await dies_settling(Deferred(now() + waits))
    await order(heir)
    await until(heir, WaitKind.READY, WaitKind.READY)
    [leased] = await all_that_comes(heir)
    assert leased.record.step > 0


async def test_what_is_held_as_its_process_dies_is_delivered_once_when_it_is_released(
    open_spool: OpenJetStream, dies_settling: Dies
) -> None:
    heir = await open_spool()
    await put(heir)
    await dies_settling(Held(now() + LATER))
    await retry(heir)
    [leased] = await all_that_comes(heir)
    assert leased.record.step == 2


async def test_what_waits_long_is_ready_under_a_subject_that_all_of_its_domain_share(
    open_spool: OpenJetStream,
) -> None:
    """Also when an order makes it ready, once the record that it follows from is gone."""
    spool = await open_spool()
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    await consumer.stop()
    await consumer.settle(leased, [Put(leased.record.next_step(), Deferred(now() + LATER))])
    await retry(spool)
    [ready] = [queued async for queued in spool.waiting.list(Selection())]
    await consumer.close()
    assert ready.record.step == 2
    assert ready.subject.endswith(".y_example")


async def test_a_body_stays_with_what_goes_on(
    open_spool: OpenJetStream, dies_settling: Dies
) -> None:
    heir = await open_spool()
    writer = heir.write_body(lifetime=LATER)
    await writer.write(b"Subject: large\r\n\r\n" + b"x" * 100_000)
    await put(heir, content=await writer.finish(destinations=1))
    await dies_settling(Deferred(now() + 4 * SECOND))
    assert await all_that_comes(heir) == []
    consumer = take(heir)
    async with asyncio.timeout(patient(20)):
        [leased] = await first(consumer, 1)
    assert sum([len(chunk) async for chunk in heir.read_body(leased.record)]) > 100_000
    await consumer.settle(leased)
    await consumer.close()


async def test_what_waited_for_moments_is_found_and_counted_like_all_that_is_ready(
    open_spool: OpenJetStream,
) -> None:
    spool = await open_spool()
    queue_id = await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    await consumer.stop()
    await consumer.settle(leased, [Put(leased.record.next_step(), Ready())])
    for wanted in (Selection(), Selection(domain="y.example"), Selection(queue_id=queue_id)):
        assert [queued.kind async for queued in spool.waiting.list(wanted)] == [WaitKind.READY]
    assert [domain for _, _, domain in await spool.waiting.counts()] == ["y.example"]
    assert sum((await spool.waiting.backlog()).ready.values()) == 1
    await consumer.close()
