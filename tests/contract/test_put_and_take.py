"""The queue's first promise: an accepted record is handed out until it is settled."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from postroad.mail.traffic import TrafficClass
from postroad.spool.event import Event, EventType
from postroad.spool.interface import Deferred, Held, LeasedRecord, Put, Ready, Spool
from postroad.spool.lanes.owners import LaneKey
from postroad.spool.record import RecipientState
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import (
    SECOND,
    OpenSpool,
    first,
    now,
    put,
    record,
    store,
    take,
)

ALL = Selection()
LATER = timedelta(hours=1)


async def waiting(spool: Spool, selection: Selection = ALL) -> list[WaitKind]:
    return sorted([queued.kind async for queued in spool.waiting.list(selection)])


async def test_an_accepted_message_is_taken_and_gone_when_settled(spool: Spool) -> None:
    queue_id = await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    assert leased.record.record_id.queue_id == queue_id
    assert leased.record.content == b"Subject: hi\r\n\r\nbody\r\n"
    assert str(leased.record.recipients[0].mailbox) == "b@y.example"
    await consumer.settle(leased)
    assert await waiting(spool) == []
    await consumer.close()


async def test_who_has_a_record_in_hand_can_tell_that_another_process_has_ended_it(
    open_spool: OpenSpool,
) -> None:
    """As after a pause that was longer than its lease."""
    spool = await open_spool()
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    assert not await consumer.has_ended(leased)
    await consumer.settle(leased)
    assert await consumer.has_ended(leased)
    await consumer.close()


async def test_mail_to_several_domains_is_one_record_each(spool: Spool) -> None:
    queue_id = await put(spool, "b@y.example", "c@z.example", "d@w.example")
    consumer = take(spool)
    leased = await first(consumer, 3)
    assert {t.record.record_id.queue_id for t in leased} == {queue_id}
    assert {t.record.domain for t in leased} == {"y.example", "z.example", "w.example"}
    for each in leased:
        await consumer.settle(each)
    await consumer.close()


async def test_the_same_message_accepted_again_is_stored_once(spool: Spool) -> None:
    queue_id = spool.new_queue_id(now())
    puts = [Put(record(queue_id, "b@y.example", 0), Ready())]
    puts.append(Put(record(queue_id, "c@z.example", 1), Ready()))
    for _ in range(2):
        await spool.accept(queue_id, lambda _: puts, timeout=5 * SECOND)
    assert len(await waiting(spool)) == 2


async def test_a_deferral_replaces_the_record_and_comes_when_due(spool: Spool) -> None:
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    again = leased.record.next_step(attempts=1)
    await consumer.settle(leased, [Put(again, Deferred(now() + 1.5 * SECOND))])
    assert await waiting(spool) == [WaitKind.DEFERRED]
    [back] = await first(consumer, 1)
    assert (back.record.attempts, back.record.step) == (1, 1)
    assert now() >= back.record.arrival + SECOND
    await consumer.settle(back)
    assert await waiting(spool) == []
    await consumer.close()


async def test_what_is_given_back_comes_again_at_once(spool: Spool) -> None:
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    await consumer.give_back(leased)
    [again] = await first(consumer, 1)
    assert again.record == leased.record
    await consumer.settle(again)
    await consumer.close()


async def test_a_settle_puts_all_that_follows_or_nothing(spool: Spool) -> None:
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    report = record(leased.record.record_id.queue_id, "a@x.example", 7)
    deferred = leased.record.next_step(attempts=1)
    puts = [Put(deferred, Deferred(now() + timedelta(hours=1))), Put(report, Ready())]
    await consumer.settle(leased, puts)
    assert await waiting(spool) == [WaitKind.READY, WaitKind.DEFERRED]
    [dsn] = await first(consumer, 1)
    assert dsn.record.domain == "x.example"
    await consumer.settle(dsn)
    await consumer.close()


async def test_another_outcome_of_the_same_step_is_not_swallowed(spool: Spool) -> None:
    """A first settle that died after its publish, and a second with a different outcome."""
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    later = now() + timedelta(hours=1)
    await consumer.settle(leased, [Put(leased.record.next_step(), Deferred(later))])
    [recipient] = leased.record.recipients
    bounced = (replace(recipient, state=RecipientState.BOUNCED),)
    other = leased.record.next_step(recipients=bounced)
    await store(spool, [Put(other, Deferred(later))])
    # A waiting record has one place: the later word about it stands there.
    [queued] = [queued async for queued in spool.waiting.list(ALL)]
    assert queued.record.recipients == bounced
    await consumer.close()


async def test_what_follows_from_another_form_of_a_record_is_no_repetition(spool: Spool) -> None:
    """A fault may leave two forms in the queue, and what came of the first may be gone for long."""
    await put(spool)
    consumer = take(spool)
    [whole] = await first(consumer, 1)
    again = whole.record.next_step()
    await consumer.settle(whole, [Put(again, Ready()), Put(again, Deferred(now()))])
    async with asyncio.timeout(patient(20)):
        for form in await first(consumer, 2):
            await consumer.settle(form, [Put(form.record.next_step(), Ready())])
            [follows] = await first(consumer, 1)
            await consumer.settle(follows)
    assert await waiting(spool) == []
    await consumer.close()


@pytest.mark.parametrize("place", [Deferred(now() + LATER), Held(now() + LATER)])
async def test_a_record_is_not_taken_again_when_a_later_form_of_it_waits(
    spool: Spool, place: Deferred | Held
) -> None:
    """A process that was killed had stored what follows, and not yet ended the record."""
    due = place.due if isinstance(place, Deferred) else place.until
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    follows = [Put(leased.record.next_step(attempts=1), place)]
    await store(spool, follows)
    await consumer.give_back(leased)
    again = asyncio.ensure_future(first(consumer, 1))
    async with asyncio.timeout(patient(20)):
        while WaitKind.READY in await waiting(spool):
            await asyncio.sleep(0.01)
    assert not again.done()
    [queued] = [queued async for queued in spool.waiting.list(ALL)]
    assert (queued.record.attempts, queued.due) == (1, due)
    again.cancel()
    await consumer.close()


async def test_transactional_is_taken_before_bulk(spool: Spool) -> None:
    for _ in range(5):
        await put(spool, traffic_class=TrafficClass.BULK)
    await put(spool, traffic_class=TrafficClass.TRANSACTIONAL)
    consumer = take(spool, room=2)
    leased = await first(consumer, 2)
    assert TrafficClass.TRANSACTIONAL in {t.record.traffic_class for t in leased}
    await consumer.close()


async def test_no_more_is_in_hand_than_there_is_room_for(spool: Spool) -> None:
    for number in range(6):
        await put(spool, f"b{number}@y.example")
    consumer = take(spool, room=3)
    leased = await first(consumer, 3)
    more = asyncio.ensure_future(first(consumer, 1))
    done, _ = await asyncio.wait([more], timeout=0.3)
    assert not done
    await consumer.settle(leased[0])
    assert len(await more) == 1
    await consumer.close()


async def test_a_stopped_taker_leaves_its_mail_to_another(open_spool: OpenSpool) -> None:
    one, other = await open_spool(), await open_spool()
    await put(one)
    consumer = take(one)
    [leased] = await first(consumer, 1)
    await consumer.stop()
    await consumer.close()
    successor = take(other)
    [again] = await first(successor, 1)
    assert again.record == leased.record
    await successor.settle(again)
    await successor.close()


async def test_what_has_not_begun_of_a_lane_that_is_left_goes_to_its_next_owner(
    open_spool: OpenSpool,
) -> None:
    """Limits are kept by a lane's owner: two at work on one lane would do twice as much."""
    one, other = await open_spool(), await open_spool()
    for number in range(30):
        await put(one, f"b@d{number}.example")
    consumer, left = take(one), asyncio.Queue[LaneKey]()
    consumer.on_leaving(left.put_nowait)
    mine = await first(consumer, 30)
    successor = take(other)
    arriving = asyncio.ensure_future(first(successor, 1))
    given_back: list[LeasedRecord] = []
    while not given_back:
        lane_key = await asyncio.wait_for(left.get(), patient(20))
        given_back = [leased for leased in mine if leased.lane_key == lane_key]
    for leased in given_back:
        await consumer.give_back(leased)
    [again] = await asyncio.wait_for(arriving, patient(20))
    assert again.record in [leased.record for leased in given_back]
    for each in (consumer, successor):
        await each.stop()
        await each.close()


async def test_each_lane_is_one_takers_or_elsewhere(open_spool: OpenSpool) -> None:
    one, other = take(await open_spool()), take(await open_spool())
    tasks = [asyncio.ensure_future(anext(aiter(each))) for each in (one, other)]
    async with asyncio.timeout(patient(30)):
        while one.lanes_elsewhere != other.lanes or not one.lanes or not other.lanes:
            await asyncio.sleep(0.01)
    assert other.lanes_elsewhere == one.lanes
    assert not one.lanes & other.lanes
    for task in tasks:
        task.cancel()
    for each in (one, other):
        await each.stop()
        await each.close()


async def test_mail_in_a_pool_that_nobody_names_is_taken_by_default(spool: Spool) -> None:
    queue_id = await put(spool, pool="gone")
    consumer = take(spool)
    async with asyncio.timeout(patient(30)):
        [leased] = await first(consumer, 1)
    assert leased.record.record_id.queue_id == queue_id
    assert consumer.serves(leased)
    await consumer.settle(leased)
    assert await waiting(spool) == []
    await consumer.close()


async def test_events_are_written_after_the_settle(spool: Spool) -> None:
    queue_id = await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    event = Event(type=EventType.DELIVERY, at=now(), queue_id=queue_id, host="mx.y.example")
    await consumer.settle(leased, events=[event])
    async for seen in spool.events.read(since=now() - timedelta(minutes=1), follow=True):
        if seen.queue_id == queue_id:
            assert seen == event
            break
    await consumer.close()


async def test_a_fresh_lease_is_fresh(spool: Spool) -> None:
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    assert consumer.fresh(leased)
    assert await consumer.confirm(leased)
    await consumer.settle(leased)
    assert not consumer.fresh(leased)
    await consumer.close()
