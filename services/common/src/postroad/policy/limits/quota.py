"""
Finds the Quotas that a message counts against, the amounts, and the keys of the counts.

There is one count for each limit of a Quota, value of its subject and window. Windows are aligned
to the Unix epoch, so all processes agree on them without communication. A process whose clock is
wrong spends from a neighbouring window, but never beyond its limit.

namespace, client, senderDomain and sender count only what Clients send. Otherwise a stranger could
use up a domain's quota by writing the domain into MAIL. clientNetwork counts everybody's mail.
"""

import hashlib
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from postroad.mail.address import Mailbox, meant
from postroad.mail.valueclass import valueclass
from postroad.policy.model import (
    ObjectKey,
    Quota,
    QuotaLimit,
    QuotaSubject,
    QuotaUnit,
    SubjectKind,
)
from postroad.policy.patterns import address_matches, specificity

# How long before and after its window a count counts: longer than the clocks in a cluster differ.
SLACK = timedelta(minutes=10)
_LONGEST_TOKEN = 128
_NOT_PLAIN = re.compile(rb"[^A-Za-z0-9_-]")
_ENCODED = re.compile(rb"=([0-9A-F]{2})")


@valueclass(frozen=True, slots=True)
class Sending:
    """What quotas need to know of a message: its sender, its client's address, its amounts."""

    client: ObjectKey | None
    reverse_path: Mailbox | None
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    messages: int = 1
    recipients: int = 0
    octets: int = 0

    def amount(self, unit: QuotaUnit) -> int:
        """Return how many of a unit the message counts as."""
        if unit is QuotaUnit.MESSAGES:
            return self.messages
        return self.recipients if unit is QuotaUnit.RECIPIENTS else self.octets


@dataclass(frozen=True, slots=True)
class QuotaDemand:
    """What a message takes from one count: `amount` of at most `maximum` until `window_end`."""

    key: str
    amount: int
    maximum: int
    window_end: datetime
    quota: Quota
    limit: QuotaLimit

    @property
    def expires(self) -> datetime:
        """When the count may be forgotten."""
        return self.window_end + SLACK

    @property
    def since(self) -> datetime:
        """The earliest moment at which somebody may have counted."""
        return self.window_end - self.limit.window - SLACK


def demands(quotas: Iterable[Quota], sending: Sending, now: datetime) -> tuple[QuotaDemand, ...]:
    """Return what a message takes from every Quota that counts it; zero amounts are left out."""
    found = []
    for quota in quotas:
        value = subject_value(quota.subject, sending)
        if value is None:
            continue
        for limit in quota.limits:
            amount = sending.amount(limit.unit)
            if amount:
                key = usage_key(quota.key, limit, value, now)
                end = window_end(limit.window, now)
                found.append(QuotaDemand(key, amount, limit.maximum, end, quota, limit))
    return tuple(found)


def subject_value(subject: QuotaSubject, sending: Sending) -> str | None:
    """Return the value that a message is counted under, None when the subject does not match."""
    if subject.kind is SubjectKind.CLIENT_NETWORK:
        return _network(subject, sending.address)
    client = sending.client
    if client is None:
        return None
    if subject.kind is SubjectKind.NAMESPACE:
        return client.namespace if subject.match in ("*", client.namespace) else None
    if subject.kind is SubjectKind.CLIENT:
        namespace, _, name = subject.match.partition("/")
        fits = namespace in ("*", client.namespace) and name in ("*", client.name)
        return str(client) if fits else None
    return _sender_value(subject, sending.reverse_path)


def _sender_value(subject: QuotaSubject, sender: Mailbox | None) -> str | None:
    if sender is None:
        return None
    if subject.kind is SubjectKind.SENDER_DOMAIN:
        return sender.domain if specificity(subject.match, sender.domain) else None
    if not address_matches(subject.match, sender.local_part, sender.domain):
        return None
    # All spellings of one mailbox share a count, as in patterns.
    return f"{meant(sender.local_part)}@{sender.domain}"


def _network(subject: QuotaSubject, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    length = subject.prefix_length if address.version == 4 else subject.prefix_length_v6
    return str(ipaddress.ip_network((address, length), strict=False))


def counts_since(window: timedelta, now: datetime) -> datetime:
    """Return the earliest moment at which somebody may have counted for the window at `now`."""
    return window_end(window, now) - window - SLACK


def window_end(window: timedelta, now: datetime) -> datetime:
    """Return the end of the window at `now`; windows begin at multiples of `window` since 1970."""
    seconds = int(window.total_seconds())
    return datetime.fromtimestamp((int(now.timestamp()) // seconds + 1) * seconds, UTC)


def usage_key(quota: ObjectKey, limit: QuotaLimit, value: str, now: datetime) -> str:
    """
    Return the key of a count: `<namespace>.<quota>.<unit>.<window>.<number>.<value>`.

    Special characters in a client's text are encoded, and a long text is hashed.
    """
    seconds = int(limit.window.total_seconds())
    number = int(now.timestamp()) // seconds
    count = f"{limit.unit.value}.{seconds}.{number}"
    return f"{quota.namespace}.{_token(quota.name)}.{count}.{_token(value)}"


def fixed_value(subject: QuotaSubject) -> str | None:
    """Return the single value that a subject is counted under, None if it may have several."""
    if subject.kind is SubjectKind.CLIENT_NETWORK or "*" in subject.match:
        return None
    if subject.kind is not SubjectKind.SENDER:
        return subject.match
    local_part, _, domain = subject.match.rpartition("@")
    return f"{meant(local_part)}@{domain}"


def counted_value(key: str, quota: ObjectKey, limit: QuotaLimit, now: datetime) -> str | None:
    """
    Return the value that a key counts in a Quota's current window.

    None for a key of another limit or window, for a hashed value, and for what is no value.
    """
    prefix = usage_key(quota, limit, "", now)
    value = key.removeprefix(prefix)
    if value == key or value.startswith("==") or not value.isascii():
        return None
    octets = _ENCODED.sub(lambda match: bytes([int(match[1], 16)]), value.encode("ascii"))
    return octets.decode("utf-8", "replace")


def _token(text: str) -> str:
    octets = text.encode("utf-8", "surrogatepass")
    plain = _NOT_PLAIN.sub(lambda match: b"=%02X" % match[0][0], octets).decode("ascii")
    if len(plain) <= _LONGEST_TOKEN:
        return plain
    return f"=={hashlib.sha256(octets).hexdigest()}"
