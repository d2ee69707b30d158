"""New mail that has to wait is listed as what it will be, and its lane's owner moves it there."""

import asyncio
from datetime import timedelta

import pytest

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.interface import Deferred, Held, Put, Queued, QueueState, Ready, Spool
from postroad.spool.record import QUOTA, Hold
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import SECOND, first, now, record, take

LATER = timedelta(hours=1)
each_wait = pytest.mark.parametrize(
    ("place", "hold", "kind"),
    [
        (Held(now() + LATER), Hold(QUOTA), WaitKind.HELD),
        (Deferred(now() + LATER), None, WaitKind.DEFERRED),
    ],
    ids=["held", "later"],
)


async def accept(spool: Spool, place: QueueState, hold: Hold | None = None) -> str:
    queue_id = spool.new_queue_id(now())
    puts = [Put(record(queue_id, hold=hold), place)]
    await spool.accept(queue_id, lambda _: puts, timeout=patient(5) * SECOND)
    return queue_id


async def listed(spool: Spool) -> list[Queued]:
    return [queued async for queued in spool.waiting.list(Selection())]


async def moved(spool: Spool) -> Queued:
    """Wait until the only record is where it waits."""
    async with asyncio.timeout(patient(20)):
        while True:
            found = await listed(spool)
            if len(found) == 1 and not found[0].is_coming:
                return found[0]
            await asyncio.sleep(0.02)


@each_wait
async def test_mail_that_has_to_wait_is_listed_and_counted_as_it_will_be(
    spool: Spool, place: Held | Deferred, hold: Hold | None, kind: WaitKind
) -> None:
    due = place.due if isinstance(place, Deferred) else place.until
    queue_id = await accept(spool, place, hold)
    [queued] = await listed(spool)
    assert (queued.kind, queued.due, queued.is_coming) == (kind, due, True)
    assert queued.record.record_id.queue_id == queue_id
    backlog = await spool.waiting.backlog()
    assert (dict(backlog.ready), backlog.held, backlog.deferred) == (
        {},
        int(kind is WaitKind.HELD),
        int(kind is WaitKind.DEFERRED),
    )
    assert list(await spool.waiting.counts()) == [(kind, None, "y.example")]
    with pytest.raises(SpoolUnavailable):
        await spool.waiting.claim(queued, [Put(queued.record.next_step(), Ready())], now())


@each_wait
async def test_mail_that_has_to_wait_is_moved_and_not_handed_out(
    spool: Spool, place: Held | Deferred, hold: Hold | None, kind: WaitKind
) -> None:
    due = place.due if isinstance(place, Deferred) else place.until
    await accept(spool, place, hold)
    consumer = take(spool)
    taken = asyncio.ensure_future(first(consumer, 1))
    queued = await moved(spool)
    assert (queued.kind, queued.due) == (kind, due)
    assert queued.record.hold == hold
    assert not taken.done()
    freed = queued.record.next_step(hold=None)
    await spool.waiting.claim(queued, [Put(freed, Ready())], now())
    async with asyncio.timeout(patient(20)):
        [leased] = await taken
    assert leased.record == freed
    await consumer.settle(leased)
    assert await listed(spool) == []
    await consumer.close()


async def test_mail_that_is_sent_later_comes_when_it_is_due(spool: Spool) -> None:
    due = now() + 2 * SECOND
    await accept(spool, Deferred(due))
    consumer = take(spool)
    async with asyncio.timeout(patient(20)):
        [leased] = await first(consumer, 1)
    assert now() >= due
    await consumer.settle(leased)
    assert await listed(spool) == []
    await consumer.close()


async def test_what_nobody_has_moved_in_time_is_taken_at_once(spool: Spool) -> None:
    """As when no process took mail; a hold that has ended is looked after like any other."""
    await accept(spool, Held(now()), Hold(QUOTA))
    consumer = take(spool)
    async with asyncio.timeout(patient(20)):
        [leased] = await first(consumer, 1)
    assert leased.record.hold == Hold(QUOTA)
    await consumer.settle(leased)
    await consumer.close()
