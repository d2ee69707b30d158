"""What the sender is told of its mail: notifications of bounces and of delays (RFC 3464)."""

from datetime import timedelta
from typing import cast

import pytest

from postroad.delivery.outcome import Outcome, OutcomeKind, bounced, deferred, of_reply
from postroad.delivery.settling.settlement import put_off
from postroad.mail.address import parse_mailbox
from postroad.mail.envelope import Notify
from postroad.mail.status import EnhancedStatus
from postroad.smtp.client import Phase
from postroad.smtp.reply import Reply
from postroad.spool.record import (
    LastReply,
    QueuedRecipient,
)
from postroad.spool.wire.record import encode
from postroad_harness.setups.delivery.settlement import (
    BOUNCED,
    DEFERRED,
    DELIVERED,
    HOUR,
    NOW,
    after,
    again,
    at,
    message,
    report,
)

UNREACHED = deferred("no connection in 30 s", host="mx.y.example")


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
