"""Mail that is given up, deleted or held: by an order, or because it was too long in the queue."""

from datetime import timedelta
from email.utils import parsedate_to_datetime

import pytest

from postroad.delivery.settling.retry import OVERTIME
from postroad.delivery.settling.settlement import put_off
from postroad.delivery.settling.unattempted import hold_ended, ordered
from postroad.mail.address import parse_mailbox
from postroad.mail.traffic import TrafficClass
from postroad.spool.event import EventType
from postroad.spool.interface import HOLD_LIMIT, Deferred, Held
from postroad.spool.record import (
    BlobRef,
    Hold,
    LastReply,
    QueuedRecipient,
    RecipientState,
)
from postroad_harness.setups.delivery.settlement import (
    HOUR,
    NOW,
    again,
    an_order,
    at,
    message,
    report,
    told,
)


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


def test_what_was_said_last_is_cut_when_mail_is_given_up() -> None:
    last = LastReply("450 4.2.1 " + "busy " * 1000, NOW, "4.2.1", "mx.y.example")
    record = message(recipients=(QueuedRecipient(parse_mailbox("b@y.example"), last=last),))
    found = report(ordered(record, an_order("bounce", "spam run"), at()))
    assert found is not None
    said = " ".join(found[1][0]["Diagnostic-Code"].split())
    assert said.startswith("x-postroad; bounced by order: spam run; last: mx.y.example said 450")
    assert said.endswith(" ...")
    assert len(said) < 600


def test_mail_that_is_left_alone_for_longer_than_its_body_lives_is_held() -> None:
    """A person may let it go on; without its body nobody could."""
    body = BlobRef(0, "b" * 32, 1, 9, b"", 1)
    record = message("b@y.example", content=body, deadline=NOW - HOLD_LIMIT - HOUR)
    [put] = ordered(record, an_order("suspend", ""), at()).puts
    assert isinstance(put.place, Held)
