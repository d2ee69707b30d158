"""
Mailboxes, and the two paths of an envelope: the reverse-path (may be null) and the forward-path.

A path is parsed once, where it enters; all other code works with the value. Domains are stored as
lower-case A-labels (RFC 5890) or bracketed address literals. So all spellings of a domain become
one string, which serves as routing key, subject token and quota key. The local part stays as it
came, quoted or not, because only the final host may interpret it (RFC 5321 §2.3.11).
"""

import ipaddress
import re
from functools import lru_cache

import idna

from postroad.mail.errors import AddressSyntaxError, DomainMissingError
from postroad.mail.ip_address import unmapped
from postroad.mail.valueclass import valueclass

MAX_LOCAL_PART = 255  # octets; RFC 5321 §4.5.3.1.1 asks for 64 at least
MAX_DOMAIN = 253  # octets: 255 with the lengths of its labels (RFC 1035 §2.3.4)

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_UTF8 = r"\u0080-\ud7ff\ue000-\U0010ffff"  # no lone surrogate: it has no octets
_ATEXT = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~\-{_UTF8}]"
_QUOTED = rf'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e{_UTF8}]|\\[\x20-\x7e])*"'
_WORD = rf"(?:{_ATEXT}+|{_QUOTED})"
_LOCAL_PART = re.compile(rf"\.*(?:{_WORD}(?:\.+{_WORD})*\.*)?")
_DOT_ATOM = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_STANDARD_LOCAL_PART = re.compile(rf"{_DOT_ATOM.pattern}|{_QUOTED}")
_QUOTED_STRING = re.compile(_QUOTED)
_PAIR = re.compile(r"\\(.)")
_SPECIAL = re.compile(r'["\\]')
# The last label of what programs read as an IPv4 address, whole or in part (WHATWG URL §3.5).
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# RFC 5321 §4.1.1.3: a source route is accepted and ignored.
_SOURCE_ROUTE = re.compile(r"@[^:,<>\s]+(?:,@[^:,<>\s]+)*:")


@valueclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox; `domain` is normalised, `local_part` is verbatim."""

    local_part: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}"

    @property
    def needs_smtputf8(self) -> bool:
        """Whether this mailbox can be sent only with SMTPUTF8 (RFC 6531)."""
        return not self.local_part.isascii()

    @property
    def in_header(self) -> str:
        """
        The mailbox in the form that a header field needs (RFC 5322 §3.4.1).

        A local part that is neither a dot-atom nor a quoted string is quoted; it still names the
        same mailbox.
        """
        if _STANDARD_LOCAL_PART.fullmatch(self.local_part):
            return str(self)
        return f"{_quoted(_unquoted(self.local_part))}@{self.domain}"

    @property
    def compared(self) -> str:
        """
        The one spelling of all spellings that name this mailbox, to compare mailboxes as text.

        The local part is in the form of `meant`, in quotes where RFC 5321 §4.1.2 needs them.
        """
        local_part = meant(self.local_part)
        if not _DOT_ATOM.fullmatch(local_part):
            local_part = _quoted(local_part)
        return f"{local_part}@{self.domain}"


def meant(local_part: str) -> str:
    """
    Return a local part in the form by which mailboxes are compared.

    Quotes and backslashes are removed, and letters are in lower case: `alice`, `"alice"` and
    `"al\\ice"` name one mailbox (RFC 5321 §4.1.2), and so does `Alice` here.
    """
    if '"' in local_part:
        local_part = _unquoted(local_part)
    return local_part.lower()


def _quoted(local_part: str) -> str:
    escaped = _SPECIAL.sub(r"\\\g<0>", local_part)
    return f'"{escaped}"'


def _unquoted(local_part: str) -> str:
    return _QUOTED_STRING.sub(lambda word: _PAIR.sub(r"\1", word[0][1:-1]), local_part)


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


def host_name(text: str) -> str:
    """
    Return a host's name as lower-case A-labels without a final dot.

    Raises AddressSyntaxError when no host can have this name (RFC 1123 §2.1). Unlike a domain, a
    host name has no underscores and does not end in a number.
    """
    name = normalise_domain(text)
    if name.startswith("["):
        raise AddressSyntaxError("host name is an address literal")
    if "_" in name:
        raise AddressSyntaxError("host name has an underscore")
    if is_number(name):
        raise AddressSyntaxError("host name ends in a number")
    return name


@lru_cache(maxsize=4096)
def is_number(domain: str) -> bool:
    """
    Whether programs may read a normalised domain as an IPv4 address, such as 127.0.0.1 or 0x7f.1.

    They may when its last label is a number; no top-level domain is one (RFC 3696 §2).
    """
    return _NUMBER.fullmatch(domain.rpartition(".")[2]) is not None


def is_local(domain: str) -> bool:
    """Whether a normalised domain means the machine that looks it up (RFC 6761 §6.3)."""
    return domain == "localhost" or domain.endswith(".localhost")


def _normalise_literal(text: str) -> str:
    if not text.endswith("]"):
        raise AddressSyntaxError("address literal is not closed")
    inner = text[1:-1]
    if "%" in inner:  # a zone has a meaning on one machine only, and may hold any text
        raise AddressSyntaxError("address literal has a zone")
    try:
        if inner[:5].lower() == "ipv6:":
            address = unmapped(ipaddress.IPv6Address(inner[5:]))
            return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"
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
        raise DomainMissingError("mailbox has no domain")
    if not local_part or len(local_part.encode("utf-8", "surrogatepass")) > MAX_LOCAL_PART:
        raise AddressSyntaxError("local part is empty or too long")
    if not _LOCAL_PART.fullmatch(local_part):
        raise AddressSyntaxError("local part has a character that is not allowed")
    return Mailbox(local_part, normalise_domain(domain))


def parse_reverse_path(text: str) -> Mailbox | None:
    """
    Read `<mailbox>` or `<>`; None is the null reverse-path (RFC 5321 §4.5.5).

    Raises DomainMissingError for a local part alone; `complete_reverse_path` reads that.
    """
    inner = _strip_brackets(text)
    return parse_mailbox(inner) if inner else None


def complete_reverse_path(text: str, domain: str) -> Mailbox:
    """Read `<local-part>` as a mailbox of `domain`."""
    return parse_mailbox(f"{_strip_brackets(text)}@{domain}")


def parse_forward_path(text: str, *, postmaster_domain: str) -> Mailbox:
    """
    Read `<mailbox>`; a bare `<postmaster>` belongs to `postmaster_domain`.

    RFC 5321 §4.1.1.3: `Postmaster` without a domain must be accepted, in any case of letters.
    """
    inner = _strip_brackets(text)
    if inner.lower() == "postmaster":
        return Mailbox(inner, postmaster_domain)
    mailbox = parse_mailbox(inner)
    if is_number(mailbox.domain):
        raise AddressSyntaxError("domain is a number; an IP address stands in brackets")
    return mailbox


def _strip_brackets(text: str) -> str:
    if not (text.startswith("<") and text.endswith(">")):
        raise AddressSyntaxError("path is not in angle brackets")
    inner = text[1:-1]
    route = _SOURCE_ROUTE.match(inner) if inner.startswith("@") else None
    return inner[route.end() :] if route else inner
