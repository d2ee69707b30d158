"""What follows from an attempt: the next record, the sender's notification, the history."""

import email
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import cast

import pytest

from postroad.delivery.disposition.dsn import Notifier
from postroad.delivery.disposition.happening import Attempted
from postroad.delivery.disposition.retry import OVERTIME
from postroad.delivery.disposition.settlement import Settlement, SettlementContext, put_off, settle
from postroad.delivery.disposition.unattempted import hold_ended, no_route, ordered
from postroad.delivery.outcome import Outcome, OutcomeKind, bounced, deferred, of_reply
from postroad.mail.address import parse_mailbox
from postroad.mail.envelope import Notify
from postroad.mail.status import EnhancedStatus
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import RetrySchedule
from postroad.smtp.client import Phase
from postroad.smtp.reply import Reply
from postroad.spool.agreement import Order
from postroad.spool.event import EventType
from postroad.spool.ids import new_queue_id
from postroad.spool.interface import HOLD_LIMIT, Deferred, Held, Put, Ready
from postroad.spool.record import (
    BlobRef,
    Hold,
    LastReply,
    QueuedRecipient,
    QueueRecord,
    RecipientState,
)
from postroad.spool.selection import Selection
from postroad.spool.wire.record import encode
from postroad.testing.queue.queued_mail import record as queued

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
QUEUE_ID = new_queue_id(NOW, 3)
TO = ("b@y.example", "c@y.example", "d@y.example")
DELIVERED = of_reply(Reply.of(250, "2.0.0", "taken"), host="mx.y.example")
DEFERRED = of_reply(Reply.of(451, "4.7.1", "later"), host="mx.y.example")
BOUNCED = of_reply(Reply.of(550, "5.1.1", "no such user"), host="mx.y.example")
UNREACHED = deferred("no connection in 30 s", host="mx.y.example")
OUTCOMES = {"D": DELIVERED, "t": DEFERRED, "B": BOUNCED}


def message(*to: str, **more: object) -> QueueRecord:
    recipients = tuple(QueuedRecipient(parse_mailbox(address)) for address in to or TO)
    fields: dict[str, object] = {
        "recipients": recipients,
        "arrival": NOW - HOUR,
        "deadline": NOW + 24 * HOUR,
        "content": b"Subject: lunch\r\n\r\nsecret\r\n",
    }
    return queued(QUEUE_ID, **(fields | more))  # type: ignore[arg-type]


def at(now: datetime = NOW, **schedule: object) -> SettlementContext:
    retry = replace(RetrySchedule(), **schedule)  # type: ignore[arg-type]
    notifier = Notifier("relay.example")
    return SettlementContext(retry, notifier, None, "p", now, random.Random(1))


def after(record: QueueRecord, outcomes: dict[int, Outcome], when: SettlementContext) -> Settlement:
    return settle(record, Attempted(outcomes, "site", "192.0.2.1"), when)


def again(settlement: Settlement) -> Put | None:
    found = [put for put in settlement.puts if isinstance(put.place, Deferred)]
    assert len(found) <= 1
    return found[0] if found else None


def report(settlement: Settlement) -> tuple[QueueRecord, list[Message]] | None:
    """Return the notification that is put, and its blocks of fields about recipients."""
    found = [put for put in settlement.puts if put.record.reverse_path is None]
    assert len(found) <= 1
    if not found:
        return None
    assert isinstance(found[0].place, Ready)
    octets = cast(bytes, found[0].record.content)
    status = cast(list[Message], email.message_from_bytes(octets).get_payload())[1]
    return found[0].record, cast(list[Message], status.get_payload())[1:]


def told(settlement: Settlement) -> list[str]:
    found = report(settlement)
    return [str(block["Final-Recipient"])[8:] for block in found[1]] if found else []


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


def test_a_report_says_what_the_host_said_and_returns_no_content() -> None:
    found = report(after(message("b@y.example"), {0: BOUNCED}, at()))
    assert found is not None
    record, [block] = found
    assert [str(r.mailbox) for r in record.recipients] == ["a@x.example"]
    assert block["Action"] == "failed"
    assert block["Status"] == "5.1.1"
    assert block["Remote-MTA"] == "dns; mx.y.example"
    assert block["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user"
    content = cast(bytes, record.content)
    assert b"Subject: lunch" in content
    assert b"secret" not in content


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        (Phase.GREETING, "(mx.y.example said in its greeting):"),
        (Phase.RCPT, "(mx.y.example said in answer to RCPT):"),
        (Phase.FINAL_DOT, "(mx.y.example said in answer to the message):"),
        (None, "(mx.y.example said):"),
    ],
)
def test_a_reply_is_quoted_as_it_came_and_people_are_told_to_what(
    phase: Phase | None, said: str
) -> None:
    reply = Reply.of(554, "5.7.1", "go away")
    refused = of_reply(reply, phase, host="mx.y.example", kind=OutcomeKind.DEFERRED)
    found = report(after(message("b@y.example"), {0: refused}, at(delay_warning=HOUR)))
    assert found is not None
    record, [block] = found
    assert block["Diagnostic-Code"] == "smtp; 554 5.7.1 go away"
    assert said.encode() in cast(bytes, record.content)


def test_a_report_quotes_nobody_who_said_nothing() -> None:
    late = message("b@y.example", deadline=NOW - HOUR)
    found = report(after(late, {0: UNREACHED}, at()))
    assert found is not None
    assert found[1][0]["Remote-MTA"] is None
    assert found[1][0]["Diagnostic-Code"] == "x-postroad; expired; last: no connection in 30 s"
    nowhere = bounced("the domain does not exist", EnhancedStatus(5, 1, 2))
    found = report(after(message("b@y.example"), {0: nowhere}, at()))
    assert found is not None
    assert found[1][0]["Diagnostic-Code"] == "x-postroad; the domain does not exist"


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


@pytest.mark.parametrize(
    ("status", "host", "told"),
    [
        ("4.4.1", "", "4.4.1"),  # no host could be reached
        ("4.7.1", "mx.y.example", "4.7.1"),
        ("4.6.7", "", "5.6.7"),  # a host does not offer SMTPUTF8
        ("4.3.4", "", "5.3.4"),  # it announces too small a SIZE
        ("4.3.4", "mx.y.example", "4.3.4"),
        ("4.4.5", "", "4.4.7"),  # it was never tried
        ("", "", "4.4.7"),
    ],
)
def test_who_expires_has_the_status_of_what_kept_the_mail_waiting(
    status: str, host: str, told: str
) -> None:
    why = LastReply("a reason", NOW - HOUR, status, host)
    waiting = (QueuedRecipient(parse_mailbox("b@y.example"), last=why),)
    over = NOW - timedelta(minutes=1)
    record = message(recipients=waiting, deadline=NOW - HOUR, overtime=over)
    settlement = put_off(record, HOUR, "site", "no room", at())
    found = report(settlement)
    assert found is not None
    assert (found[1][0]["Action"], found[1][0]["Status"]) == ("failed", told)


def test_the_sender_is_warned_once() -> None:
    first = after(message("b@y.example"), {0: DEFERRED}, at(delay_warning=HOUR))
    put, found = again(first), report(first)
    assert put is not None
    assert found is not None
    assert found[1][0]["Action"] == "delayed"
    assert found[1][0]["Will-Retry-Until"] == "Sat, 03 Jan 2026 12:00:00 +0000"
    second = after(put.record, {0: DEFERRED}, at(NOW + HOUR, delay_warning=HOUR))
    assert again(second) is not None
    assert report(second) is None


@pytest.mark.parametrize("outcome", [BOUNCED, DEFERRED])
def test_nobody_is_told_about_mail_from_nobody(outcome: Outcome) -> None:
    for deadline in (NOW + HOUR, NOW - HOUR):
        record = message("b@y.example", reverse_path=None, deadline=deadline)
        settlement = after(record, {0: outcome}, at(delay_warning=HOUR))
        assert [put for put in settlement.puts if put.record.step == 0] == []


@pytest.mark.parametrize(
    ("notify", "outcome", "expected"),
    [
        (Notify.NEVER, BOUNCED, False),
        (Notify.SUCCESS, BOUNCED, False),
        (Notify.FAILURE, BOUNCED, True),
        (Notify.FAILURE, DEFERRED, False),
        (Notify.DELAY, DEFERRED, True),
        (Notify.DELAY, BOUNCED, False),
    ],
)
def test_a_sender_is_told_what_it_asked_for(
    notify: Notify, outcome: Outcome, expected: bool
) -> None:
    recipient = QueuedRecipient(parse_mailbox("b@y.example"), notify, "rfc822;B@y.example")
    settlement = after(message(recipients=(recipient,)), {0: outcome}, at(delay_warning=HOUR))
    found = report(settlement)
    assert (found is not None) is expected
    if found is not None:
        assert found[1][0]["Original-Recipient"] == "rfc822;B@y.example"


def test_settling_again_after_a_crash_makes_the_same_report() -> None:
    one = report(after(message(), {0: BOUNCED, 1: DEFERRED, 2: DEFERRED}, at()))
    two = report(after(message(), {0: BOUNCED, 1: DELIVERED, 2: DEFERRED}, at(NOW + HOUR)))
    other = report(after(message(), {0: BOUNCED, 1: BOUNCED, 2: DEFERRED}, at()))
    assert one is not None
    assert two is not None
    assert other is not None
    assert one[0].record_id == two[0].record_id, "so that the queue stores it once"
    assert one[0].record_id != other[0].record_id


def test_a_report_is_never_reported_on_itself() -> None:
    found = report(after(message("b@y.example"), {0: BOUNCED}, at()))
    assert found is not None
    settlement = after(found[0], {0: BOUNCED}, at())
    assert settlement.puts == ()


def test_a_report_with_an_eight_bit_header_needs_no_eight_bits() -> None:
    record = message("b@y.example", content="Subject: é\r\n\r\n".encode())
    found = report(after(record, {0: BOUNCED}, at()))
    assert found is not None
    assert found[0].body.value == "7BIT"
    found = report(after(message("pelé@y.example"), {0: BOUNCED}, at()))
    assert found is not None
    assert found[0].body.value == "8BITMIME", "it names an address beyond ASCII"


def test_equal_answers_are_one_line_of_history() -> None:
    settlement = after(message(), {0: DELIVERED, 1: DEFERRED, 2: DELIVERED}, at())
    lines = {event.type: event for event in settlement.events}
    assert len(settlement.events) == 2
    assert lines[EventType.DELIVERY].recipients == ("b@y.example", "d@y.example")
    assert lines[EventType.TRANSIENT_FAILURE].reply == "451 4.7.1 later"
    assert lines[EventType.DELIVERY].peer_address == "192.0.2.1"
    assert {event.attempt for event in settlement.events} == {1}


def test_giving_up_bounces_what_is_pending_only() -> None:
    done = QueuedRecipient(parse_mailbox("b@y.example"), state=RecipientState.DELIVERED)
    left = QueuedRecipient(parse_mailbox("c@y.example"))
    record = message(recipients=(done, left))
    settlement = ordered(record, an_order("bounce", ""), at())
    assert again(settlement) is None
    assert told(settlement) == ["c@y.example"]
    assert [event.type for event in settlement.events] == [EventType.ADMIN_BOUNCE]


@pytest.mark.parametrize("traffic_class", TrafficClass)
def test_a_notification_delays_no_mail_that_what_it_is_about_may_not_delay(
    traffic_class: TrafficClass,
) -> None:
    settlement = ordered(message(traffic_class=traffic_class), an_order("bounce", ""), at())
    [notification] = [put.record for put in settlement.puts if put.record.reverse_path is None]
    assert notification.traffic_class is traffic_class


def test_a_bounce_by_order_tells_the_reason_and_what_the_host_said_last() -> None:
    last = LastReply("450 4.2.1 mailbox busy", NOW, "4.2.1", "mx.y.example")
    tried = NOW - timedelta(hours=3)
    record = message(
        recipients=(QueuedRecipient(parse_mailbox("b@y.example"), last=last),), last_attempt=tried
    )
    settlement = ordered(record, an_order("bounce", "spam run"), at())
    [event] = settlement.events
    assert event.reason == "spam run"
    found = report(settlement)
    assert found is not None
    [fields] = found[1]
    assert fields["Status"] == "5.7.1"
    assert " ".join(fields["Diagnostic-Code"].split()) == (
        "x-postroad; bounced by order: spam run; last: mx.y.example said 450 4.2.1 mailbox busy"
    )
    assert parsedate_to_datetime(fields["Last-Attempt-Date"]) == tried.replace(microsecond=0)


def test_a_host_is_quoted_also_where_the_reason_has_its_words() -> None:
    last = LastReply("busy", NOW, "4.2.1", "mx.y.example")
    record = message(recipients=(QueuedRecipient(parse_mailbox("b@y.example"), last=last),))
    found = report(ordered(record, an_order("bounce", "too busy"), at()))
    assert found is not None
    assert " ".join(found[1][0]["Diagnostic-Code"].split()) == (
        "x-postroad; bounced by order: too busy; last: mx.y.example said busy"
    )


def test_a_report_of_mail_that_was_never_tried_names_no_attempt() -> None:
    found = report(ordered(message(last_attempt=None), an_order("bounce", ""), at()))
    assert found is not None
    assert all("Last-Attempt-Date" not in fields for fields in found[1])
    assert {str(fields["Diagnostic-Code"]) for fields in found[1]} == {
        "x-postroad; bounced by order"
    }


def test_deleted_mail_is_in_the_history_and_nobody_is_told() -> None:
    settlement = ordered(message(), an_order("delete", "spam run"), at())
    assert settlement.puts == ()
    [event] = settlement.events
    assert (event.type, event.reason) == (EventType.ADMIN_DELETE, "spam run")
    assert event.recipients == ("b@y.example", "c@y.example", "d@y.example")


@pytest.mark.parametrize(("reason", "said"), [("ticket 5", "ticket 5"), ("", "by order")])
def test_the_reason_of_a_hold_stays_with_the_mail(reason: str, said: str) -> None:
    settlement = ordered(message(), an_order("hold", reason), at())
    [put], [event] = settlement.puts, settlement.events
    assert put.record.hold == Hold("Admin", note=reason, ordered=NOW), "as old as the order"
    assert (event.type, event.reason) == (EventType.HELD, said)


def an_order(action: str, reason: str) -> Order:
    return Order("order", action, Selection(), NOW, NOW + timedelta(hours=1), NOW, reason)


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


def test_what_is_past_its_deadline_waits_for_its_try_and_not_for_ever() -> None:
    began, record = NOW + 25 * HOUR, message()
    waits = []
    for seconds in (0, 100, 200, 290):
        context = at(began + timedelta(seconds=seconds), delay_warning=HOUR)
        waited = put_off(record, timedelta(seconds=60), "site", "away", context)
        [put] = waited.puts
        record = put.record
        assert waited.events == (), "nobody is told of tries until a time that is over"
        assert isinstance(put.place, Deferred)
        waits.append((put.place.due - began).total_seconds())
    assert waits == [60, 160, 260, 300]
    over = put_off(record, timedelta(seconds=60), "site", "away", at(began + OVERTIME))
    assert [event.type for event in over.events] == [EventType.EXPIRATION]
    assert report(over) is not None


def test_what_waited_in_line_past_its_deadline_has_time_for_its_try_behind_that() -> None:
    began, record = NOW + 25 * HOUR, message()
    [waited] = put_off(record, HOUR, "site", "others are first", at(began), expires=False).puts
    over = at(began + HOUR)
    [again] = put_off(waited.record, timedelta(seconds=60), "site", "away", over).puts
    assert again.place == Deferred(began + HOUR + timedelta(seconds=60))


def test_what_comes_out_of_a_hold_past_its_deadline_waits_for_a_try_of_its_own() -> None:
    record = message(overtime=NOW - HOUR, deadline=NOW - 2 * HOUR, hold=Hold("Quota"))
    assert record.hold is not None
    [put] = hold_ended(record, record.hold, at()).puts
    again = put_off(put.record, timedelta(seconds=60), "site", "away", at())
    assert [each.place for each in again.puts] == [Deferred(NOW + timedelta(seconds=60))]


@pytest.mark.parametrize("count", [1, 60, 1000])
def test_what_is_kept_of_long_replies_is_bounded_for_one_and_for_all(count: int) -> None:
    """A thousand recipients are the most that one record has."""
    record = message(*(f"b{number}@y.example" for number in range(count)))
    for end, kind in (("450", "4.2.1"), ("550", "5.1.1")):
        replies = [
            Reply.of(int(end), kind, f"b{n}: \N{SNOWMAN}" + "x" * 4000) for n in range(count)
        ]
        outcomes = {n: of_reply(reply, host="mx.y.example") for n, reply in enumerate(replies)}
        settlement = after(record, outcomes, at())
        [put] = settlement.puts
        assert len(encode(put.record)) < 512 * 1024
        assert all(len(event.reply.encode()) <= 512 for event in settlement.events)
        assert sum(len(event.reply) for event in settlement.events) > count * 100
    found = report(settlement)
    assert found is not None
    said = " ".join(found[1][0]["Diagnostic-Code"].split())
    assert said.startswith("smtp; 550 5.1.1 b0: ")
    assert len(said) <= 520


def test_what_was_said_last_is_cut_when_mail_is_given_up() -> None:
    last = LastReply("450 4.2.1 " + "busy " * 1000, NOW, "4.2.1", "mx.y.example")
    record = message(recipients=(QueuedRecipient(parse_mailbox("b@y.example"), last=last),))
    found = report(ordered(record, an_order("bounce", "spam run"), at()))
    assert found is not None
    said = " ".join(found[1][0]["Diagnostic-Code"].split())
    assert said.startswith("x-postroad; bounced by order: spam run; last: mx.y.example said 450")
    assert said.endswith(" ...")
    assert len(said) < 600


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


def test_mail_that_is_left_alone_for_longer_than_its_body_lives_is_held() -> None:
    """A person may let it go on; without its body nobody could."""
    body = BlobRef(0, "b" * 32, 1, 9, b"", 1)
    record = message("b@y.example", content=body, deadline=NOW - HOLD_LIMIT - HOUR)
    [put] = ordered(record, an_order("suspend", ""), at()).puts
    assert isinstance(put.place, Held)


def test_a_record_may_move_to_its_sites_lane_again_after_each_attempt() -> None:
    put = again(after(message("b@y.example", lane_moves=3), {0: DEFERRED}, at()))
    assert put is not None
    assert put.record.lane_moves == 0
