"""What follows from an attempt: the next record, its time, and the history."""

from dataclasses import replace
from datetime import timedelta

import pytest

from postroad.delivery.outcome import deferred
from postroad.delivery.settling.happening import Attempted
from postroad.delivery.settling.settlement import put_off, settle
from postroad.delivery.settling.unattempted import no_route
from postroad.mail.address import parse_mailbox
from postroad.spool.event import EventType
from postroad.spool.interface import Deferred, Put, Ready
from postroad.spool.record import (
    LastReply,
    QueuedRecipient,
    RecipientState,
)
from postroad_harness.setups.delivery.settlement import (
    BOUNCED,
    DEFERRED,
    DELIVERED,
    HOUR,
    NOW,
    TO,
    after,
    again,
    at,
    message,
    report,
    told,
)

OUTCOMES = {"D": DELIVERED, "t": DEFERRED, "B": BOUNCED}


@pytest.mark.parametrize(
    ("ends", "states", "pending", "reported"),
    [
        ("DDD", None, [], []),
        ("DtB", "DPB", ["c@y.example"], ["d@y.example"]),
        ("ttt", "PPP", list(TO), []),
        ("BBB", None, [], list(TO)),
        ("DDB", None, [], ["d@y.example"]),
        ("BtD", "BPD", ["c@y.example"], ["b@y.example"]),
        ("DDt", "DDP", ["d@y.example"], []),
    ],
)
def test_each_recipient_goes_its_own_way(
    ends: str, states: str | None, pending: list[str], reported: list[str]
) -> None:
    outcomes = {number: OUTCOMES[end] for number, end in enumerate(ends)}
    settlement = after(message(), outcomes, at())
    put = again(settlement)
    if states is None:
        assert put is None
    else:
        assert put is not None
        assert "".join(r.state[0] for r in put.record.recipients) == states
        assert [str(r.mailbox) for r in put.record.pending] == pending
        assert (put.record.step, put.record.attempts) == (1, 1)
        assert put.record.site == "site"
    assert told(settlement) == reported


def test_a_deferred_record_comes_back_by_its_schedule() -> None:
    put = again(after(message("b@y.example"), {0: DEFERRED}, at(first=2 * HOUR)))
    assert put is not None
    assert isinstance(put.place, Deferred)
    assert NOW + 1.6 * HOUR <= put.place.due <= NOW + 2.4 * HOUR
    last = put.record.recipients[0].last
    assert last is not None
    assert (last.text, last.status, last.host) == ("451 4.7.1 later", "4.7.1", "mx.y.example")


def test_what_is_pending_at_the_deadline_expires_and_the_rest_stays() -> None:
    settlement = after(message(deadline=NOW), {0: DELIVERED, 1: DEFERRED, 2: BOUNCED}, at())
    assert again(settlement) is None
    assert sorted(told(settlement)) == ["c@y.example", "d@y.example"]
    found = report(settlement)
    assert found is not None
    statuses = {str(b["Final-Recipient"])[8:]: str(b["Status"]) for b in found[1]}
    assert statuses == {"c@y.example": "4.7.1", "d@y.example": "5.1.1"}
    [expired] = [e for e in settlement.events if e.type is EventType.EXPIRATION]
    assert expired.recipients == ("c@y.example",)


def test_equal_answers_are_one_line_of_history() -> None:
    settlement = after(message(), {0: DELIVERED, 1: DEFERRED, 2: DELIVERED}, at())
    lines = {event.type: event for event in settlement.events}
    assert len(settlement.events) == 2
    assert lines[EventType.DELIVERY].recipients == ("b@y.example", "d@y.example")
    assert lines[EventType.TRANSIENT_FAILURE].reply == "451 4.7.1 later"
    assert lines[EventType.DELIVERY].peer_address == "192.0.2.1"
    assert {event.attempt for event in settlement.events} == {1}


def test_who_was_not_come_to_goes_on_at_once_and_the_schedule_stands() -> None:
    record = message(attempts=1)
    known = Attempted({0: BOUNCED, 1: DEFERRED}, "site", resume_from=2)
    settlement = settle(record, known, at(delay_warning=HOUR / 2))
    [put] = [put for put in settlement.puts if put.record.record_id == record.record_id]
    assert put.place == Ready()
    assert (put.record.attempts, put.record.last_attempt, put.record.step) == (1, NOW, 1)
    assert [each.state for each in put.record.recipients] == ["Bounced", "Pending", "Pending"]
    assert told(settlement) == ["b@y.example"]
    end = after(put.record, {2: DEFERRED}, at())
    last = again(end)
    assert last is not None
    assert (last.record.attempts, last.record.resume_from) == (2, 0)
    assert told(end) == []


def test_an_attempt_that_goes_on_is_not_begun_anew_by_waiting() -> None:
    record = message(resume_from=2)
    [put] = put_off(record, timedelta(minutes=1), "site", "suspended: away", at()).puts
    assert put.record.resume_from == 2


def test_hosts_that_perhaps_took_it_are_remembered_the_latest_at_the_end() -> None:
    record = message()
    for host, expected in [
        ("mx0", ("mx0",)),
        ("mx1", ("mx0", "mx1")),
        ("mx0", ("mx1", "mx0")),
    ]:
        put = again(after(record, {0: deferred("closed", host=host, ambiguous=True)}, at()))
        assert put is not None
        assert put.record.doubtful_hosts == expected
        record = put.record


def test_what_is_put_off_was_not_tried() -> None:
    record = message(attempts=2, last_attempt=NOW - HOUR)
    settlement = put_off(record, timedelta(minutes=1), "site", "suspended: away", at())
    [put] = settlement.puts
    assert put.place == Deferred(NOW + timedelta(minutes=1))
    assert (put.record.attempts, put.record.last_attempt) == (2, NOW - HOUR)
    assert {each.last.text for each in put.record.recipients if each.last} == {"suspended: away"}
    assert settlement.events == ()


def test_what_is_put_off_keeps_the_last_answer_it_got() -> None:
    last = LastReply("450 4.2.1 busy", NOW - HOUR, "4.2.1", "mx.y.example")
    record = message(recipients=(QueuedRecipient(parse_mailbox("b@y.example"), last=last),))
    [put] = put_off(record, timedelta(minutes=1), "site", "suspended: away", at()).puts
    assert put.record.recipients[0].last == last


def test_what_is_put_off_is_warned_of_as_if_it_had_been_tried() -> None:
    late = put_off(message(), timedelta(minutes=1), "site", "away", at(delay_warning=HOUR / 2))
    assert [event.type for event in late.events] == [EventType.DELAYED]


def test_who_has_got_the_mail_is_not_tried_again_for_lack_of_a_route() -> None:
    recipients = tuple(QueuedRecipient(parse_mailbox(address)) for address in TO)
    got = replace(recipients[0], state=RecipientState.DELIVERED)
    refused = replace(recipients[1], state=RecipientState.BOUNCED)
    settlement = no_route(message(recipients=(got, refused, recipients[2])), at())
    put = again(settlement)
    assert put is not None
    assert [str(each.mailbox) for each in put.record.pending] == [TO[2]]
    assert report(settlement) is None, "nobody is told of them again"


def test_mail_without_a_route_waits_half_as_long_as_it_has_had_none() -> None:
    """Whatever its Relay was, nobody knows when there will be one; and nothing was tried."""
    put, waits = Put(message("b@y.example"), Ready()), []
    when = at()
    for _ in range(12):
        settlement = no_route(put.record, when)
        found = again(settlement)
        assert found is not None
        assert isinstance(found.place, Deferred)
        waits.append((found.place.due - when.now).total_seconds())
        assert (len(settlement.events), found.record.attempts) == (len(waits) == 1, 0)
        put, when = found, at(found.place.due)
    assert 4 <= waits[0] <= 6
    been = 0.0
    for wait in waits:
        assert wait <= max(6, been * 0.6)
        been += wait
    last = put.record.recipients[0].last
    assert last is not None
    assert (last.text, last.status, last.at) == ("no route to recipient", "4.4.4", NOW)
    late = at(NOW + 23 * HOUR)
    found = again(no_route(put.record, late))
    assert found is not None
    assert isinstance(found.place, Deferred)
    assert found.place.due <= late.now + timedelta(minutes=18)
    over = no_route(put.record, at(put.record.deadline))
    assert [event.type for event in over.events][-1] == EventType.EXPIRATION
    assert again(over) is None


def test_a_record_may_move_to_its_sites_lane_again_after_each_attempt() -> None:
    put = again(after(message("b@y.example", lane_moves=3), {0: DEFERRED}, at()))
    assert put is not None
    assert put.record.lane_moves == 0
