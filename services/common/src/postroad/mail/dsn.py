"""
Delivery status notifications (RFC 3464) as messages: what a sender is told of mail that failed.

A multipart/report of three parts: a text for people, the fields for programs, and the original's
header. What remote servers and senders wrote goes through `_clean` or `_folded`, so that nothing of
theirs can add a field. A notification says Auto-Submitted (RFC 3834) and travels from the null
reverse-path, so that none is ever sent about it.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum

from postroad.mail.address import Mailbox
from postroad.mail.status import EnhancedStatus

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_TEXT = 900  # octets: a line has room for 998 (RFC 5322 §2.1.1)
_MAX_HEADER = 64 * 1024


class Action(StrEnum):
    """What became of a recipient (RFC 3464 §2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """One recipient in a report; `diagnostic` is a remote server's reply or a sentence of ours."""

    mailbox: Mailbox
    status: EnhancedStatus
    diagnostic: str
    original: str | None = None  # `type;address` of ORCPT
    remote_mta: str = ""
    last_attempt: datetime | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a notification is made of. `header` is the original's header block."""

    action: Action
    to: Mailbox
    reporting_mta: str
    queue_id: str
    original_queue_id: str
    arrival: datetime
    now: datetime
    recipients: tuple[ReportedRecipient, ...]
    header: bytes
    envid: str | None = None
    will_retry_until: datetime | None = None


def compose(report: Report) -> bytes:
    """Return the notification as a message with CRLF line ends."""
    boundary = f"=_{report.queue_id}"
    utf8 = any(not str(r.mailbox).isascii() for r in report.recipients)
    status_type = "message/global-delivery-status" if utf8 else "message/delivery-status"
    charset = "utf-8" if utf8 else "ascii"
    header_type = "message/global-headers" if utf8 else "text/rfc822-headers"
    parts = [
        _fields(report, boundary),
        _part(boundary, "text/plain; charset=utf-8", _text(report).encode()),
        # Only the kind for addresses beyond ASCII may hold anything else beyond it (RFC 6533 §3).
        _part(boundary, status_type, _status_fields(report).encode(charset, "replace")),
        _part(boundary, header_type, _returned(report.header)),
        f"\r\n--{boundary}--\r\n".encode(),
    ]
    return b"".join(parts)


def _fields(report: Report, boundary: str) -> bytes:
    failed = report.action is Action.FAILED
    subject = "Undelivered mail returned to sender" if failed else "Delayed mail, still being tried"
    mta = report.reporting_mta
    return (
        f"From: Mail delivery system <postmaster@{mta}>\r\n"
        f"To: <{report.to}>\r\n"
        f"Subject: {subject}\r\n"
        f"Date: {format_datetime(report.now)}\r\n"
        f"Message-ID: <{report.queue_id}@{mta}>\r\n"
        "MIME-Version: 1.0\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "Content-Type: multipart/report; report-type=delivery-status;\r\n"
        f'\tboundary="{boundary}"\r\n'
        "\r\n"
        "This is a multipart message in MIME format.\r\n"
    ).encode()


def _part(boundary: str, content_type: str, body: bytes) -> bytes:
    encoding = "8bit" if not body.isascii() else "7bit"
    head = (
        f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode() + body


def _text(report: Report) -> str:
    failed = report.action is Action.FAILED
    if failed:
        opening = "Your message could not be delivered to one or more recipients."
        closing = "It will not be tried again."
    else:
        opening = "Your message has not been delivered yet to one or more recipients."
        until = report.will_retry_until
        closing = f"It is still being tried{f', until {format_datetime(until)}' if until else ''}."
        closing += " You need not send it again."
    lines = [
        f"This is the mail system at {report.reporting_mta}.",
        "",
        opening,
        closing,
        "",
    ]
    for recipient in report.recipients:
        said = f" ({_clean(recipient.remote_mta)} said)" if recipient.remote_mta else ""
        lines.append(f"<{recipient.mailbox}>{said}:")
        lines += [f"    {line}" for line in _wrapped(recipient.diagnostic)]
        lines.append("")
    lines.append(f"Queue id: {report.original_queue_id}")
    return "\r\n".join(lines) + "\r\n"


def _status_fields(report: Report) -> str:
    lines = [f"Reporting-MTA: dns; {report.reporting_mta}"]
    if report.envid:
        lines.append(f"Original-Envelope-Id: {_clean(report.envid)}")
    lines.append(f"Arrival-Date: {format_datetime(report.arrival)}")
    for recipient in report.recipients:
        lines += ["", *_recipient_fields(report, recipient)]
    return "\r\n".join(lines) + "\r\n"


def _recipient_fields(report: Report, recipient: ReportedRecipient) -> list[str]:
    kind = "rfc822" if str(recipient.mailbox).isascii() else "utf-8"
    lines = []
    if recipient.original:
        address_type, _, address = recipient.original.partition(";")
        lines.append(f"Original-Recipient: {_clean(address_type)};{_clean(address)}")
    lines += [
        f"Final-Recipient: {kind}; {recipient.mailbox}",
        f"Action: {report.action}",
        f"Status: {recipient.status}",
    ]
    if recipient.remote_mta:
        lines.append(f"Remote-MTA: dns; {_clean(recipient.remote_mta)}")
    # Only what a server said is of type smtp; a sentence of ours has a type of its own.
    diagnostic = "smtp" if recipient.remote_mta else "x-postroad"
    lines.append(f"Diagnostic-Code: {diagnostic}; {_clean(recipient.diagnostic)}")
    if recipient.last_attempt is not None:
        lines.append(f"Last-Attempt-Date: {format_datetime(recipient.last_attempt)}")
    if report.will_retry_until is not None:
        lines.append(f"Will-Retry-Until: {format_datetime(report.will_retry_until)}")
    return lines


def _returned(header: bytes) -> bytes:
    block = header[:_MAX_HEADER]
    return block if block.endswith(b"\r\n") else block + b"\r\n"


def _clean(text: str) -> str:
    octets = _CONTROL.sub(" ", text).encode("utf-8", "replace")[:_MAX_TEXT]
    return octets.decode("utf-8", "ignore").strip()


def _wrapped(text: str) -> list[str]:
    words, lines, line = _clean(text).split(), [], ""
    for word in words:
        if line and len(line) + len(word) >= 72:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line]
