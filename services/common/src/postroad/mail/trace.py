"""
Trace fields: the Received field this relay prepends, and how often a message has been received.

RFC 5321 §4.4 gives the shape, RFC 3848 the names of the protocols. What a client said of itself is
untrusted: whatever is not plain in a header field is left out, so nothing it says can add a field.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache

from postroad.mail.address import Mailbox

_UNSAFE = re.compile(r"[^\x21-\x27\x2a-\x5b\x5d-\x7e\u0080-\U0010ffff]")  # controls, space, ( ) \
_RECEIVED = re.compile(rb"^received:", re.IGNORECASE | re.MULTILINE)
_MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class Hop:
    """One receiving of a message. `peer` is an IP address; `tls` e.g. `TLSv1.3`, "" for none."""

    helo: str
    peer: str
    by: str
    protocol: str
    tls: str
    queue_id: str
    received: datetime
    recipient: Mailbox | None  # named only when there is one: others' addresses are private


def received_protocol(*, extended: bool, utf8: bool, tls: bool, authenticated: bool) -> str:
    """Return the `with` keyword of RFC 3848, or of RFC 6531 for a transaction under SMTPUTF8."""
    if not extended:
        return "SMTP"
    name = "UTF8SMTP" if utf8 else "ESMTP"
    return name + ("S" if tls else "") + ("A" if authenticated else "")


def received_field(hop: Hop) -> bytes:
    """Return the Received field, folded, with its CRLF."""
    peer = f"[IPv6:{hop.peer}]" if ":" in hop.peer else f"[{hop.peer}]"
    helo = _UNSAFE.sub("", hop.helo)[:_MAX_NAME] or "unknown"
    tls = f" ({hop.tls})" if hop.tls else ""
    recipient = f"\r\n\tfor <{hop.recipient}>" if hop.recipient is not None else ""
    return (
        f"Received: from {helo} ({peer})\r\n"
        f"\tby {hop.by} with {hop.protocol}{tls} id {hop.queue_id}"
        f"{recipient};\r\n"
        f"\t{_date(hop.received.replace(microsecond=0))}\r\n"
    ).encode("utf-8", "replace")


@lru_cache(maxsize=8)
def _date(second: datetime) -> str:
    # Many messages come in a second, and the field says no more than that.
    return format_datetime(second)


def count_received(header: bytes) -> int:
    """Return how many Received fields a header block has (RFC 5321 §6.3)."""
    return len(_RECEIVED.findall(header))


def has_field(header: bytes, name: bytes) -> bool:
    """Whether a header block has a field of this name, in any case of letters."""
    lowered = header.lower()
    prefix = name.lower() + b":"
    return lowered.startswith(prefix) or b"\n" + prefix in lowered
