"""
Mailboxes and the two paths of an envelope: reverse-path (may be null) and forward-path.

A path is read once, where it enters, into a value; everything behind works with the value.
Domains are kept as lower-case A-labels (RFC 5890) or bracketed address literals, so that two
spellings of one domain are one string: a routing key, a subject token, a quota key. The local part
is kept as it came, quoted or not: only the final host may interpret it (RFC 5321 §2.3.11).
"""

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

import idna

from postroad.mail.errors import AddressSyntaxError

MAX_LOCAL_PART = 64  # octets, RFC 5321 §4.5.3.1.1
MAX_DOMAIN = 255  # octets, RFC 5321 §4.5.3.1.2
MAX_PATH = 256  # octets with the angle brackets, RFC 5321 §4.5.3.1.3

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_UTF8 = r"\u0080-\ud7ff\ue000-\U0010ffff"  # no lone surrogate: it has no octets
_ATEXT = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~\-{_UTF8}]"
_DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_QUOTED_STRING = re.compile(rf'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e{_UTF8}]|\\[\x20-\x7e])*"')
# RFC 5321 §4.1.1.3: a source route is accepted and ignored.
_SOURCE_ROUTE = re.compile(r"@[^:,<>\s]+(?:,@[^:,<>\s]+)*:")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox; `domain` is normalised, `local_part` is verbatim."""

    local_part: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}"

    @property
    def needs_smtputf8(self) -> bool:
        """Whether this mailbox can only travel under SMTPUTF8 (RFC 6531)."""
        return not self.local_part.isascii()


@lru_cache(maxsize=4096)
def normalise_domain(text: str) -> str:
    """
    Return a domain as lower-case A-labels without a final dot, or an address literal.

    Raises AddressSyntaxError when it is neither (RFC 5321 §4.1.2 and §4.1.3).
    """
    if text.startswith("["):
        return _normalise_literal(text)
    domain = text.removesuffix(".").lower()
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise AddressSyntaxError("domain is not a valid internationalised name") from error
    if not domain or len(domain) > MAX_DOMAIN:
        raise AddressSyntaxError("domain is empty or too long")
    if not all(_LABEL.fullmatch(label) for label in domain.split(".")):
        raise AddressSyntaxError("domain has a character or label that is not allowed")
    return domain


def _normalise_literal(text: str) -> str:
    if not text.endswith("]"):
        raise AddressSyntaxError("address literal is not closed")
    inner = text[1:-1]
    if "%" in inner:  # a zone means something on one machine only, and may hold anything
        raise AddressSyntaxError("address literal has a zone")
    try:
        if inner[:5].lower() == "ipv6:":
            return f"[IPv6:{ipaddress.IPv6Address(inner[5:])}]"
        return f"[{ipaddress.IPv4Address(inner)}]"
    except ValueError as error:
        raise AddressSyntaxError("address literal holds no IP address") from error


def literal_address(domain: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address of a normalised address literal, None for a name."""
    if not domain.startswith("["):
        return None
    return ipaddress.ip_address(domain[1:-1].removeprefix("IPv6:"))


@lru_cache(maxsize=8192)
def parse_mailbox(text: str) -> Mailbox:
    """Read `local@domain` as RFC 5321 §4.1.2 allows it; raise AddressSyntaxError otherwise."""
    local_part, at, domain = text.rpartition("@")
    if not at:
        raise AddressSyntaxError("mailbox has no domain")
    if not local_part or len(local_part.encode("utf-8", "surrogatepass")) > MAX_LOCAL_PART:
        raise AddressSyntaxError("local part is empty or too long")
    if not (_DOT_STRING.fullmatch(local_part) or _QUOTED_STRING.fullmatch(local_part)):
        raise AddressSyntaxError("local part has a character that is not allowed")
    return Mailbox(local_part, normalise_domain(domain))


def parse_reverse_path(text: str) -> Mailbox | None:
    """Read `<mailbox>` or `<>`; None is the null reverse-path (RFC 5321 §4.5.5)."""
    inner = _strip_brackets(text)
    return parse_mailbox(inner) if inner else None


def parse_forward_path(text: str, *, postmaster_domain: str) -> Mailbox:
    """
    Read `<mailbox>`; a bare `<postmaster>` belongs to `postmaster_domain`.

    RFC 5321 §4.1.1.3: `Postmaster` without a domain must be accepted, in any case of letters.
    """
    inner = _strip_brackets(text)
    if inner.lower() == "postmaster":
        return Mailbox(inner, postmaster_domain)
    return parse_mailbox(inner)


def _strip_brackets(text: str) -> str:
    if not (text.startswith("<") and text.endswith(">")):
        raise AddressSyntaxError("path is not in angle brackets")
    if len(text.encode("utf-8", "surrogatepass")) > MAX_PATH:
        raise AddressSyntaxError("path is too long")
    inner = text[1:-1]
    route = _SOURCE_ROUTE.match(inner)
    return inner[route.end() :] if route else inner
