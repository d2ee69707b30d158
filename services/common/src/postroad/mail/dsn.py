"""
Composes delivery status notifications (RFC 3464), which tell a sender that mail failed or is late.

A notification is a multipart/report of three parts: a text for people, the fields for programs,
and the header of the original. Text from remote servers and senders passes through `_clean`, so
that it can neither add a field nor control a terminal. The notification has an Auto-Submitted field
(RFC 3834) and the null reverse-path, so no notification is ever sent about it.

Strict hosts must accept it, so every line keeps to the limits of RFC 5322 §2.1.1. The original may
have lines of any length, octets of any charset, and control characters. So the returned header
(RFC 6522 §4) is escaped line by line, and encoded if it is not plain ASCII with short lines.
"""

import re
from binascii import b2a_qp
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum
from textwrap import wrap

from postroad.mail.address import Mailbox
from postroad.mail.status import EnhancedStatus
from postroad.mail.visible import visible

# RFC 5322 §2.1.1: a line has 998 octets at most, and should have no more than 78.
_MAX_TEXT = 900
_MAX_NAME = 255
_SHORT_LINE = 76
_MOST_HEADER = 64 * 1024  # octets
_PLAIN = re.compile(rb"(?:[\t\x20-\x7e]{0,998}\r\n)*")


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
    answering: str = ""  # the step that it answered, for people: "in answer to RCPT"
    last_attempt: datetime | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The input of a notification. `header` is the header block of the original message."""

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


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A part's body, and its Content-Transfer-Encoding (RFC 2045 §6)."""

    octets: bytes
    encoding: str


def compose(report: Report) -> bytes:
    """Return the notification as a message with CRLF line ends."""
    boundary = f"=_{report.queue_id}"
    utf8 = any(not str(r.mailbox).isascii() for r in report.recipients)
    status_type = "message/global-delivery-status" if utf8 else "message/delivery-status"
    charset = "utf-8" if utf8 else "ascii"
    # Only message/global-delivery-status may hold anything but ASCII (RFC 6533 §3).
    status = _status_fields(report).encode(charset, "replace")
    header = _returned_header(report.header)
    header_type = "message/global-headers" if utf8 else "text/rfc822-headers"
    if not utf8 and header.encoding != "7bit":
        header_type += "; charset=utf-8"
    parts = [
        _fields(report, boundary),
        _part(boundary, "text/plain; charset=utf-8", _text(report)),
        _part(boundary, status_type, _Encoded(status, "8bit" if utf8 else "7bit")),
        _part(boundary, header_type, header),
        f"\r\n--{boundary}--\r\n".encode(),
    ]
    return b"".join(parts)


def _fields(report: Report, boundary: str) -> bytes:
    failed = report.action is Action.FAILED
    subject = "Undelivered mail returned to sender" if failed else "Delayed mail, still being tried"
    mta = report.reporting_mta
    return (
        f"From: Mail delivery system <postmaster@{mta}>\r\n"
        f"To: <{report.to.in_header}>\r\n"
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


def _part(boundary: str, content_type: str, body: _Encoded) -> bytes:
    head = (
        f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n"
        f"Content-Transfer-Encoding: {body.encoding}\r\n\r\n"
    )
    return head.encode() + body.octets


def _text(report: Report) -> _Encoded:
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
        said = ""
        if recipient.remote_mta:
            host, when = _clean(recipient.remote_mta, _MAX_NAME), recipient.answering
            said = f" ({host} said{' ' if when else ''}{when})"
        lines.append(f"<{visible(str(recipient.mailbox))}>{said}:")
        lines += [f"    {line}" for line in _wrapped(_clean(recipient.diagnostic), 72)]
        lines.append("")
    lines.append(f"Queue id: {report.original_queue_id}")
    text = "\r\n".join(lines) + "\r\n"
    return _Encoded(text.encode(), "7bit") if text.isascii() else _quoted_printable(text)


def _status_fields(report: Report) -> str:
    lines = [f"Reporting-MTA: dns; {report.reporting_mta}"]
    if report.envid:
        lines.append(_folded(f"Original-Envelope-Id: {_clean(report.envid)}"))
    lines.append(f"Arrival-Date: {format_datetime(report.arrival)}")
    for recipient in report.recipients:
        lines += ["", *_recipient_fields(report, recipient)]
    return "\r\n".join(lines) + "\r\n"


def _recipient_fields(report: Report, recipient: ReportedRecipient) -> list[str]:
    mailbox = str(recipient.mailbox)
    kind = "rfc822" if mailbox.isascii() else "utf-8"
    lines = []
    if recipient.original:
        address_type, _, address = recipient.original.partition(";")
        original = f"{_clean(address_type, _MAX_NAME)};{_clean(address, 2 * _MAX_NAME)}"
        lines.append(_folded(f"Original-Recipient: {original}"))
    lines += [
        f"Final-Recipient: {kind}; {''.join(map(_embedded, mailbox))}",
        f"Action: {report.action}",
        f"Status: {recipient.status}",
    ]
    if recipient.remote_mta:
        lines.append(_folded(f"Remote-MTA: dns; {_clean(recipient.remote_mta, _MAX_NAME)}"))
    # The type smtp is for a server's reply; our own sentences have a type of their own.
    diagnostic = "smtp" if recipient.remote_mta else "x-postroad"
    lines.append(_folded(f"Diagnostic-Code: {diagnostic}; {_clean(recipient.diagnostic)}"))
    if recipient.last_attempt is not None:
        lines.append(f"Last-Attempt-Date: {format_datetime(recipient.last_attempt)}")
    if report.will_retry_until is not None:
        lines.append(f"Will-Retry-Until: {format_datetime(report.will_retry_until)}")
    return lines


def _embedded(char: str) -> str:
    # RFC 6533 §3: the form of a character that cannot be shown in an address.
    return char if char.isprintable() else f"\\x{{{ord(char):X}}}"


def _clean(text: str, most: int = _MAX_TEXT) -> str:
    """Return a text on one line, invisible characters escaped, cut to `most` octets."""
    octets = visible(" ".join(text.split())).encode("utf-8", "replace")[:most]
    return octets.decode("utf-8", "ignore").strip()


def _folded(field: str) -> str:
    """Return a field, folded at blanks."""
    first, *more = _wrapped(field, _SHORT_LINE)
    return "\r\n ".join([first, *more])


def _wrapped(text: str, width: int) -> list[str]:
    """Return the lines of a text, broken at blanks only; a longer word has a line of its own."""
    words = " ".join(text.split())
    return wrap(words, width, break_long_words=False, break_on_hyphens=False) or [""]


def _returned_header(header: bytes) -> _Encoded:
    """Return a header block, cut after a line to 64 KiB at most, and encoded if it is not plain."""
    block = header[:_MOST_HEADER]
    if len(header) > _MOST_HEADER:
        block = block[: block.rfind(b"\r\n") + 2] or block
    block = block.rstrip(b"\r\n") + b"\r\n"
    if _PLAIN.fullmatch(block):
        return _Encoded(block, "7bit")
    lines = [_shown(line) for line in block[:-2].split(b"\r\n")]
    return _quoted_printable("\r\n".join(lines) + "\r\n")


def _quoted_printable(text: str) -> _Encoded:
    """Encode a text with CRLF line ends as 7-bit octets with short lines."""
    return _Encoded(b2a_qp(text.encode("utf-8", "replace")), "quoted-printable")


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "backslashreplace")
    return "\t".join(map(visible, text.split("\t")))
