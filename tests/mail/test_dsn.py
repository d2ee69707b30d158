"""Notifications, parsed by a mail parser: each field in its place, and no injected ones."""

import email
import email.policy
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.address import Mailbox, parse_mailbox
from postroad.mail.dsn import Action, Report, ReportedRecipient, compose
from postroad.mail.status import EnhancedStatus

ARRIVAL = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REFUSED = ReportedRecipient(
    mailbox=parse_mailbox("b@y.example"),
    status=EnhancedStatus(5, 1, 1),
    diagnostic="550 5.1.1 no such user",
    original="rfc822;B+x@y.example",
    remote_mta="mx.y.example",
    last_attempt=ARRIVAL + timedelta(minutes=1),
)
UNREACHED = ReportedRecipient(
    mailbox=parse_mailbox("c@y.example"),
    status=EnhancedStatus(4, 4, 7),
    diagnostic="expired; last: no connection in 30 s",
)
REPORT = Report(
    action=Action.FAILED,
    to=parse_mailbox("a@x.example"),
    reporting_mta="relay.example",
    queue_id="01NEW",
    original_queue_id="01OLD",
    arrival=ARRIVAL,
    now=ARRIVAL + timedelta(hours=1),
    recipients=(REFUSED, UNREACHED),
    header=b"From: a@x.example\r\nSubject: lunch\r\nX-Folded: one\r\n\ttwo\r\n",
    envid="order 7",
)


def read(report: Report) -> tuple[Message, Message, list[Message], Message]:
    """Return a notification's message, text, blocks of status fields, and returned header."""
    octets = compose(report)
    for line in octets.split(b"\r\n"):
        assert len(line) <= 998
        assert b"\r" not in line
        assert b"\n" not in line
    message = email.message_from_bytes(octets)
    assert not message.defects
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    text, status, header = cast(list[Message], message.get_payload())
    return message, text, cast(list[Message], status.get_payload()), header


def body(part: Message) -> str:
    return cast(bytes, part.get_payload(decode=True)).decode()


def test_the_message_says_whom_it_is_for_and_that_no_person_wrote_it() -> None:
    message, *_ = read(REPORT)
    assert message["To"] == "<a@x.example>"
    assert "postmaster@relay.example" in message["From"]
    assert message["Subject"] == "Undelivered mail returned to sender"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Message-ID"] == "<01NEW@relay.example>"
    assert message["Date"] == "Fri, 02 Jan 2026 04:04:05 +0000"


def test_a_person_reads_who_was_not_reached_and_why() -> None:
    _, text, *_ = read(REPORT)
    said = body(text)
    assert "could not be delivered" in said
    assert "<b@y.example> (mx.y.example said):\r\n    550 5.1.1 no such user" in said
    assert "<c@y.example>:\r\n    expired; last: no connection in 30 s" in said
    assert "Queue id: 01OLD" in said


def test_the_fields_about_the_message() -> None:
    _, _, [about, *_], _ = read(REPORT)
    assert about.items() == [
        ("Reporting-MTA", "dns; relay.example"),
        ("Original-Envelope-Id", "order 7"),
        ("Arrival-Date", "Fri, 02 Jan 2026 03:04:05 +0000"),
    ]


def test_the_fields_about_each_recipient() -> None:
    _, _, [_, refused, unreached], _ = read(REPORT)
    assert refused.items() == [
        ("Original-Recipient", "rfc822;B+x@y.example"),
        ("Final-Recipient", "rfc822; b@y.example"),
        ("Action", "failed"),
        ("Status", "5.1.1"),
        ("Remote-MTA", "dns; mx.y.example"),
        ("Diagnostic-Code", "smtp; 550 5.1.1 no such user"),
        ("Last-Attempt-Date", "Fri, 02 Jan 2026 03:05:05 +0000"),
    ]
    assert unreached.items() == [
        ("Final-Recipient", "rfc822; c@y.example"),
        ("Action", "failed"),
        ("Status", "4.4.7"),
        ("Diagnostic-Code", "x-postroad; expired; last: no connection in 30 s"),
    ]


def test_a_warning_says_that_it_is_still_being_tried_and_until_when() -> None:
    until = ARRIVAL + timedelta(days=5)
    report = replace(REPORT, action=Action.DELAYED, will_retry_until=until)
    message, text, [_, first, _], _ = read(report)
    assert message["Subject"] == "Delayed mail, still being tried"
    assert "until Wed, 07 Jan 2026 03:04:05 +0000. You need not send it again." in body(text)
    assert first["Action"] == "delayed"
    assert first["Will-Retry-Until"] == "Wed, 07 Jan 2026 03:04:05 +0000"


def test_the_original_s_header_is_returned_and_nothing_of_its_body() -> None:
    *_, header = read(REPORT)
    assert header.get_content_type() == "text/rfc822-headers"
    assert body(header).strip() == REPORT.header.decode().strip()


def longest_line(octets: bytes) -> int:
    return max(map(len, octets.split(b"\r\n")))


@pytest.mark.parametrize(
    "header",
    [
        b"Subject: " + b"x" * 5000 + b"\r\n",
        b"Subject: gr\xc3\xb6\xc3\x9fe\r\n",
        b"Subject: gr\xf6\xdfe\r\n",
        b"Subject: a\rb\nc\x00d\r\n",
        b"Subject: \x1b[2J \xe2\x80\xae\r\n",
        b"Received: ours\r\n\r\n",
        b"",
        b"\xff" * 100_000,
    ],
)
@pytest.mark.parametrize("mailbox", ["b@y.example", "pel\u00e9@y.example"])
def test_whatever_the_original_was_like_the_notification_is_plain(
    header: bytes, mailbox: str
) -> None:
    recipient = replace(REFUSED, mailbox=parse_mailbox(mailbox), original=None)
    octets = compose(replace(REPORT, header=header, recipients=(recipient,)))
    assert longest_line(octets) <= 998
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", octets)
    assert octets.isascii() == mailbox.isascii()
    parts = cast(list[Message], email.message_from_bytes(octets).get_payload())
    shown = cast(bytes, parts[2].get_payload(decode=True) or b"").decode()
    assert all(line.isprintable() for line in re.split("[\r\n\t]", shown))


def test_an_encoded_header_says_what_it_said() -> None:
    header = "Subject: größe\r\nX-Long: ".encode() + b"y" * 2000 + b"\r\n"
    *_, returned = read(replace(REPORT, header=header))
    assert body(returned) == header.decode()
    assert returned.get_content_charset() == "utf-8"


@pytest.mark.parametrize("size", [255, 5000])
def test_no_field_is_longer_than_a_line(size: int) -> None:
    long = "x" * size
    recipient = ReportedRecipient(
        mailbox=Mailbox("l" * 255, "d" * 253),
        status=EnhancedStatus(5, 0, 0),
        diagnostic=long,
        original=f"{long};{long}",
        remote_mta=long,
    )
    report = replace(REPORT, to=recipient.mailbox, recipients=(recipient,), envid=long)
    assert longest_line(compose(report)) <= 998


def test_a_long_reply_is_folded() -> None:
    said = "550 5.7.1 " + "see our policy " * 40
    octets = compose(replace(REPORT, recipients=(replace(REFUSED, diagnostic=said),)))
    assert longest_line(octets) <= 78
    _, _, [_, about], _ = read(replace(REPORT, recipients=(replace(REFUSED, diagnostic=said),)))
    assert about["Diagnostic-Code"].split() == ["smtp;", *said.split()]


def test_folding_breaks_no_word() -> None:
    link = f"https://host.example/{'a-b' * 30}"
    recipient = replace(REPORT.recipients[0], diagnostic=f"550 blocked, see {link} for the reason")
    octets = compose(replace(REPORT, recipients=(recipient,)))
    assert octets.count(link.encode()) == 2, "for people, and in Diagnostic-Code"


def test_a_reply_beyond_ascii_is_told_in_seven_bits() -> None:
    refused = replace(REFUSED, diagnostic="550 5.1.1 unbekannter Empfänger, größe 0")
    report = replace(REPORT, recipients=(refused,))
    assert compose(report).isascii()
    _, text, *_ = read(report)
    assert refused.diagnostic in body(text)


def test_an_address_with_odd_dots_is_quoted_in_to_and_reported_as_it_is() -> None:
    odd = parse_mailbox("odd..dots@y.example")
    message, _, [_, about], _ = read(
        replace(REPORT, to=odd, recipients=(replace(REFUSED, mailbox=odd),))
    )
    assert message["To"] == '<"odd..dots"@y.example>'
    assert about["Final-Recipient"] == "rfc822; odd..dots@y.example"


def test_an_address_that_steers_the_display_is_escaped() -> None:
    steering = parse_mailbox("a\u202eb\x9b@y.example")
    octets = compose(replace(REPORT, recipients=(replace(REFUSED, mailbox=steering),)))
    assert rb"Final-Recipient: utf-8; a\x{202E}b\x{9B}@y.example" in octets
    assert rb"<a\u202eb\x9b@y.example>" in octets


def test_a_header_without_end_is_returned_in_part() -> None:
    octets = compose(replace(REPORT, header=b"X: y\r\n" * 50_000))
    assert len(octets) < 70_000


def test_addresses_beyond_ascii_are_reported_as_rfc_6533_says() -> None:
    recipient = replace(REFUSED, mailbox=parse_mailbox("pelé@y.example"), original=None)
    octets = compose(replace(REPORT, recipients=(recipient,)))
    message = email.message_from_bytes(octets, policy=email.policy.SMTPUTF8)
    kinds = [part.get_content_type() for part in message.walk()]
    assert "message/global-delivery-status" in kinds
    assert "message/global-headers" in kinds
    assert "Final-Recipient: utf-8; pelé@y.example".encode() in octets


TEXTS = st.text(max_size=60) | st.text(st.sampled_from("a :;-\r\n\t=_"), max_size=60)


@given(diagnostic=TEXTS, mta=TEXTS.map(str.strip), original=TEXTS, envid=TEXTS)
def test_nothing_of_others_adds_a_field_or_a_part(
    diagnostic: str, mta: str, original: str, envid: str
) -> None:
    recipient = replace(REFUSED, diagnostic=diagnostic, remote_mta=mta, original=original)
    _, _, blocks, _ = read(replace(REPORT, recipients=(recipient,), envid=envid))
    assert len(blocks) == 2
    allowed = {"Final-Recipient", "Action", "Status", "Diagnostic-Code", "Last-Attempt-Date"}
    assert set(blocks[1].keys()) - {"Original-Recipient", "Remote-MTA"} == allowed
    assert len(blocks[1].keys()) == len(set(blocks[1].keys()))
    assert blocks[1]["Status"] == "5.1.1"


@pytest.mark.parametrize("text", ["x" * 5000, "ä" * 5000, "\U0001f4ee " * 3000, "word " * 2000])
def test_a_long_reply_is_cut_to_a_line(text: str) -> None:
    _, _, [_, about], _ = read(replace(REPORT, recipients=(replace(REFUSED, diagnostic=text),)))
    assert about["Status"] == "5.1.1"
    assert about["Diagnostic-Code"].isascii()
