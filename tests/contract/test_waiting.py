"""Waiting mail can be listed without taking it, and changed by only one claimant."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from postroad.mail.address import parse_mailbox
from postroad.mail.traffic import TrafficClass
from postroad.spool.errors import ClaimLost
from postroad.spool.ids import RecordId
from postroad.spool.interface import Deferred, Held, Put, Queued, QueueState, Ready, Spool
from postroad.spool.record import Hold, QueuedRecipient, RecipientState
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.queue.queued_mail import first, now, put, record, store, take

LATER = timedelta(hours=1)


async def found(spool: Spool, selection: Selection) -> list[Queued]:
    return [queued async for queued in spool.waiting.list(selection)]


async def test_each_state_is_listed_and_counted(spool: Spool) -> None:
    await put(spool, "a@one.example")
    await put(spool, "b@two.example", place=Deferred(now() + LATER))
    await put(spool, "c@two.example", place=Held(now() + LATER), hold=Hold("Admin"))
    kinds = {queued.kind: queued.record.domain for queued in await found(spool, Selection())}
    assert kinds == {
        WaitKind.READY: "one.example",
        WaitKind.DEFERRED: "two.example",
        WaitKind.HELD: "two.example",
    }
    counts = await spool.waiting.counts()
    assert {(kind, domain): each.number for (kind, _, domain), each in counts.items()} == {
        (WaitKind.READY, "one.example"): 1,
        (WaitKind.DEFERRED, "two.example"): 1,
        (WaitKind.HELD, "two.example"): 1,
    }
    backlog = await spool.waiting.backlog()
    assert dict(backlog.ready) == {("default", TrafficClass.TRANSACTIONAL): 1}
    assert (backlog.deferred, backlog.held) == (1, 1)


async def put_once(spool: Spool, arrival: datetime, place: QueueState) -> None:
    """Put a message that arrived at another time than now."""
    queued = record(spool.new_queue_id(arrival), "b@two.example", arrival=arrival)
    await store(spool, [Put(queued, place)])


async def test_the_age_of_the_oldest_record_is_known_without_reading_the_queue(
    spool: Spool,
) -> None:
    for days, place in ((1, None), (2, Deferred(now() + LATER)), (3, Held(now() + LATER))):
        for more in (timedelta(0), timedelta(hours=2)):
            arrival = now() - timedelta(days=days) + more
            await put_once(spool, arrival, place or Ready())
    oldest = (await spool.waiting.backlog()).oldest
    assert {kind: round((now() - each) / timedelta(days=1)) for kind, each in oldest.items()} == {
        WaitKind.READY: 1,
        WaitKind.DEFERRED: 2,
        WaitKind.HELD: 3,
    }
    counts = await spool.waiting.counts()
    [deferred] = [tally for (kind, _, _), tally in counts.items() if kind is WaitKind.DEFERRED]
    assert deferred.number == 2
    assert deferred.oldest is not None
    assert round((now() - deferred.oldest) / timedelta(days=1)) == 2


async def test_an_empty_queue_has_no_oldest_record(spool: Spool) -> None:
    assert dict((await spool.waiting.backlog()).oldest) == {}


async def test_looking_takes_nothing(spool: Spool) -> None:
    queue_id = await put(spool)
    assert len(await found(spool, Selection(queue_id=queue_id))) == 1
    assert len(await found(spool, Selection(queue_id=queue_id))) == 1
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    assert leased.record.record_id.queue_id == queue_id
    await consumer.settle(leased)
    await consumer.close()


@pytest.mark.parametrize(
    ("selection", "matches"),
    [
        (Selection(domain="one.example"), 2),
        (Selection(recipient="b@two.example"), 1),
        (Selection(recipient="a@two.example"), 0),
        (Selection(reverse_path="a@x.example"), 3),
        (Selection(reverse_path="nobody@x.example"), 0),
        (Selection(kinds=frozenset({WaitKind.DEFERRED})), 1),
        (Selection(client="shop/web"), 0),
    ],
)
async def test_a_selection_means_what_it_says(
    spool: Spool, selection: Selection, matches: int
) -> None:
    await put(spool, "a@one.example")
    await put(spool, "c@one.example", place=Deferred(now() + LATER))
    await put(spool, "B@two.example", reverse_path=parse_mailbox("A@x.example"))
    assert len(await found(spool, selection)) == matches


@pytest.mark.parametrize("local_part", ["bob", "BOB", '"bob"', r'"b\ob"'])
async def test_every_spelling_of_an_address_is_selected(spool: Spool, local_part: str) -> None:
    mailbox = parse_mailbox(f"{local_part}@y.example")
    await put(spool, str(mailbox))
    await put(spool, "d@y.example", reverse_path=mailbox)
    await put(spool, '"bob c"@y.example')
    assert len(await found(spool, Selection(recipient="bob@y.example"))) == 1
    assert len(await found(spool, Selection(reverse_path="bob@y.example"))) == 1


async def test_deferred_mail_is_found_by_its_id_and_goes_on_when_it_is_claimed(
    spool: Spool,
) -> None:
    queue_id = await put(spool, "c@one.example", place=Deferred(now() + LATER))
    await put(spool, "d@one.example", place=Deferred(now() + LATER))
    await put(spool, "e@one.example", place=Held(now() + LATER))
    [listed] = await found(spool, Selection(queue_id=queue_id))
    where = listed.record.domain, spool.lane_of(listed.record)
    queued = await deferred(spool, listed.record.record_id, *where)
    assert queued == listed
    await spool.waiting.claim(queued, [Put(queued.record.next_step(), Ready())], now())
    assert await deferred(spool, listed.record.record_id, *where) is None
    other = await found(spool, Selection(kinds=frozenset({WaitKind.HELD})))
    assert await deferred(spool, other[0].record.record_id, *where) is None


async def deferred(spool: Spool, record_id: RecordId, domain: str, lane: str) -> Queued | None:
    return await spool.waiting.deferred(record_id, domain=domain, lane=lane)


async def test_a_recipient_that_waits_no_more_is_not_meant(spool: Spool) -> None:
    done, waits = (QueuedRecipient(parse_mailbox(f"{who}@y.example")) for who in "bc")
    done = replace(done, state=RecipientState.DELIVERED)
    await put(spool, recipients=(done, waits), place=Deferred(now() + LATER))
    assert await found(spool, Selection(recipient="b@y.example")) == []
    assert len(await found(spool, Selection(recipient="c@y.example"))) == 1


@pytest.mark.parametrize(
    ("place", "kind"),
    [(Deferred(now() + LATER), WaitKind.DEFERRED), (Held(now() + LATER), WaitKind.HELD)],
    ids=["deferred", "held"],
)
async def test_a_claim_may_leave_a_record_where_it_waits(
    spool: Spool, place: Deferred | Held, kind: WaitKind
) -> None:
    """Once, as it was claimed, and it still becomes ready in its time."""
    await put(spool, place=place)
    [queued] = await found(spool, Selection())
    puts = [Put(queued.record.next_step(attempts=7), place)]
    await spool.waiting.claim(queued, puts, now())
    [left] = await found(spool, Selection())
    assert (left.kind, left.due, left.record.attempts) == (kind, queued.due, 7)
    with pytest.raises(ClaimLost):
        await spool.waiting.claim(queued, puts, now())
    soon = type(place)(now() + timedelta(seconds=1))
    await spool.waiting.claim(left, [Put(left.record.next_step(), soon)], now())
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    assert leased.record.attempts == 7
    await consumer.settle(leased)
    await consumer.close()
    assert await found(spool, Selection()) == []


async def test_a_claim_moves_deferred_mail_to_its_lane(spool: Spool) -> None:
    await put(spool, place=Deferred(now() + LATER))
    [queued] = await found(spool, Selection())
    await spool.waiting.claim(queued, [Put(queued.record.next_step(), Ready())], now())
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    assert leased.record.record_id == queued.record.record_id
    await consumer.settle(leased)
    await consumer.close()
    assert await found(spool, Selection()) == []


async def test_only_one_claimant_wins(spool: Spool) -> None:
    await put(spool, place=Held(now() + LATER), hold=Hold("Admin"))
    [queued] = await found(spool, Selection())
    await spool.waiting.claim(queued, [Put(queued.record.next_step(hold=None), Ready())], now())
    bounced = queued.record.next_step(pool="other")
    with pytest.raises(ClaimLost):
        await spool.waiting.claim(queued, [Put(bounced, Ready())], now())
    assert len(await found(spool, Selection())) == 1


async def test_nothing_is_claimed_that_becomes_ready_by_itself(spool: Spool) -> None:
    await put(spool, place=Deferred(now() + timedelta(seconds=2)))
    [queued] = await found(spool, Selection())
    with pytest.raises(ClaimLost):
        await spool.waiting.claim(queued, [Put(queued.record.next_step(), Ready())], now())
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    assert leased.record.step == queued.record.step
    await consumer.settle(leased)
    await consumer.close()
    assert await found(spool, Selection()) == []


async def test_a_claim_may_put_several_records(spool: Spool) -> None:
    await put(spool, "b@y.example", place=Deferred(now() + LATER))
    [queued] = await found(spool, Selection())
    split = [
        Put(queued.record.next_step(), Ready()),
        Put(
            queued.record.next_step(
                record_id=queued.record.record_id._replace(destination=5), domain="z.example"
            ),
            Ready(),
        ),
    ]
    await spool.waiting.claim(queued, split, now())
    assert {q.record.domain for q in await found(spool, Selection())} == {"y.example", "z.example"}
