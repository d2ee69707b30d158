"""Records that a process cannot read, and those of older and newer processes."""

import asyncio

import pytest

from postroad.spool.jetstream.consume.poison.suspects import POISON, SUSPECT
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.selection import WaitKind
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import (
    first,
    put,
    record,
    take,
)
from postroad_harness.setups.spool.taking import ALL, OpenJetStream, waiting

pytestmark = pytest.mark.nats

NEWER = [frozenset({"teleport"})] * 40


@pytest.mark.parametrize("stream", ["i.0.r", "q.0.r"])
async def test_what_cannot_be_read_is_held_and_kept(
    spool: JetStreamSpool, link: Link, stream: str
) -> None:
    consumer = take(spool)
    reading = asyncio.ensure_future(first(consumer, 1))
    lane = spool.lane_of(record("0" * 26))
    await link.jetstream.publish(f"pr.{stream}.default.x.{lane}.y_example", b"not a record")
    async with asyncio.timeout(patient(20)):
        while await waiting(spool) != [WaitKind.HELD]:
            await asyncio.sleep(0.1)
    [queued] = [q async for q in spool.waiting.list(ALL)]
    assert queued.record.hold is not None
    assert queued.record.hold.reason == "Unreadable"
    assert queued.record.content == b"not a record"
    reading.cancel()
    await consumer.close()


async def test_what_a_newer_process_wrote_is_left_to_it(spool: JetStreamSpool) -> None:
    await put(spool, needs=frozenset({"teleport"}))
    await put(spool, "c@y.example")
    consumer = take(spool)
    async with asyncio.timeout(patient(10)):
        [leased] = await first(consumer, 1)
    assert not leased.record.needs
    await consumer.settle(leased)
    assert await waiting(spool) == [WaitKind.READY]
    await consumer.close()


async def test_much_that_a_newer_process_wrote_holds_up_no_other_mail(
    spool: JetStreamSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was handed back counted as handed out, of which a consumer has so many at a time."""
    monkeypatch.setattr("postroad.spool.jetstream.consume.pull.lane_consumer.MAX_ACK_PENDING", 20)
    monkeypatch.setattr("postroad.spool.jetstream.consume.newer._RETURNS", 5)
    for needs in NEWER:
        await put(spool, needs=needs)
    await put(spool, "c@y.example")
    consumer = take(spool)
    async with asyncio.timeout(patient(10)):
        [leased] = await first(consumer, 1)
    assert not leased.record.needs
    await consumer.settle(leased)
    async with asyncio.timeout(patient(10)):  # one that moves to where it waits is listed twice
        while [queued.record.needs async for queued in spool.waiting.list(ALL)] != NEWER:
            await asyncio.sleep(0.05)
    await consumer.close()


async def test_what_older_processes_handed_back_is_no_poison_to_a_newer_one(
    open_spool: OpenJetStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "postroad.spool.jetstream.consume.arrivals._LATER", b'-NAK {"delay": 50000000}'
    )
    older = await open_spool()
    await put(older, needs=frozenset({"teleport"}))
    consumer = take(older)
    with pytest.raises(TimeoutError):  # long enough to be handed back more often than poison is
        async with asyncio.timeout(patient(3)):
            await first(consumer, 1)
    await consumer.close()
    monkeypatch.setattr(
        "postroad.spool.jetstream.consume.newer.KNOWN_FEATURES", frozenset({"teleport"})
    )
    newer = take(await open_spool())
    async with asyncio.timeout(patient(20)):
        [leased] = await first(newer, 1)
    assert leased.deliveries > SUSPECT + POISON
    assert leased.record.hold is None
    await newer.settle(leased)
    await newer.close()
