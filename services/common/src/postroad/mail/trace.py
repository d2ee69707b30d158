"""
The Received field that this relay puts in front of a message.

RFC 5321 §4.4 defines its form, RFC 3848 the protocol names. The client's name for itself is
untrusted: it is reduced to a domain or an address literal. So a client can neither add a field nor
break this one, and the name is ASCII, as a message without SMTPUTF8 needs (RFC 6531 §3.7.3).
"""

import re
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache

from postroad.mail.address import Mailbox, normalise_domain
from postroad.mail.errors import AddressSyntaxError
from postroad.mail.ip_address import Address
from postroad.mail.valueclass import valueclass

# RFC 1123 allows no underscore in a host name, but many hosts have one.
_DOMAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]|\.(?=[A-Za-z0-9_]))*")
_NOT_IN_DOMAIN = re.compile(r"[^A-Za-z0-9_.-]+")
_DOTS = re.compile(r"\.{2,}")
_MAX_NAME = 255


@valueclass(frozen=True, slots=True)
class ClientInfo:
    """
    What a server knows about the client of a session, apart from its login.

    A session makes one when it begins, and a new one when the client gives its name or starts TLS.
    """

    address: Address
    peer: str  # the address as text: each message needs it several times
    helo: str = ""  # the client's name for itself, "" before EHLO and HELO
    tls: str = ""  # version and cipher, "" without TLS


@valueclass(frozen=True, slots=True)
class Hop:
    """How a message was received: what the Received field says."""

    client: ClientInfo
    by: str
    protocol: str
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
    client = hop.client
    peer = f"[IPv6:{client.peer}]" if ":" in client.peer else f"[{client.peer}]"
    tls = f" ({client.tls})" if client.tls else ""
    recipient = f"\r\n\tfor <{hop.recipient.in_header}>" if hop.recipient is not None else ""
    return (
        f"Received: from {helo_name(client.helo)} ({peer})\r\n"
        f"\tby {hop.by} with {hop.protocol}{tls} id {hop.queue_id}"
        f"{recipient};\r\n"
        f"\t{_date(hop.received.replace(microsecond=0))}\r\n"
    ).encode("utf-8", "replace")


@lru_cache(maxsize=1024)
def helo_name(said: str) -> str:
    """
    Return the name in a client's HELO or EHLO as a domain or an address literal in ASCII.

    Characters that neither may hold become hyphens; if nothing else is left, it is `unknown`.
    """
    said = said[:_MAX_NAME]
    if _DOMAIN.fullmatch(said):
        return said
    try:
        return normalise_domain(said)
    except AddressSyntaxError:
        name = _DOTS.sub(".", _NOT_IN_DOMAIN.sub("-", said)).strip(".-")
        return name or "unknown"


@lru_cache(maxsize=8)
def _date(second: datetime) -> str:
    # The field has whole seconds, and many messages come in one second.
    return format_datetime(second)
