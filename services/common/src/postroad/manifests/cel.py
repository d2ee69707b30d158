"""
Rules in CEL, which the API server evaluates itself, each with a message that says what to do.

JSON Schema knows types, bounds and choices, and says of a wrong text only which expression it
should match. So how a text is written is a rule, too, and not a `pattern`. A rule about how one
thing is written stands beside its type in `manifest_types`; a rule across fields stands beside the
validator that says the same (`Part.api_rules`). The schema of the models carries both to the CRDs.

A rule refuses nothing that the models take, but for IP addresses with a zone or an IPv4 address
inside, and networks with a netmask instead of a length. Some of what the models refuse is beyond
it, and the operator tells that in the condition Accepted: whether an internationalised name is a
valid one, two spellings of one host (with a final dot, internationalised, or of IPv6), foreign
addresses in an internationalised Domain, too long local parts there, and all about other objects.

Rules are compiled with a budget of cost that counts every text and list at its longest: each has a
bound, and where a list is long the rule on its entries is short.
"""

from dataclasses import dataclass
from typing import Any

from postroad.units.quantities import RATE_PATTERN

# A letter, digit or _ as a domain's label has them, or anything internationalised.
_LETTER = r"\w\x{80}-\x{10FFFF}"
_LABEL = rf"[{_LETTER}]([{_LETTER}-]{{0,61}}[{_LETTER}])?"
_DOMAIN = rf"{_LABEL}([.]{_LABEL})*[.]?"
_DOMAIN_PATTERN = rf"([*]|([*][.])?{_DOMAIN})"

_AMOUNT = "[0-9]+([.][0-9]+)?"
_MILLISECONDS = (("ms", "1.0"), ("s", "1000.0"), ("m", "60000.0"), ("h", "3600000.0"))
_DAY = "86400000.0"


@dataclass(frozen=True, slots=True)
class CelRule:
    """
    What must hold of `self`, as CEL; else the object is refused with `message`.

    The refusal is shown at `field` (dotted) of the part that has the rule. `detail` is CEL for a
    message with values in it; `message` is said where that fails.
    """

    cel: str
    message: str
    field: str = ""
    detail: str = ""

    def schema(self) -> dict[str, str]:
        """Return the rule as an entry of x-kubernetes-validations."""
        found = {"rule": self.cel, "message": self.message}
        if self.detail:
            found["messageExpression"] = self.detail
        if self.field:
            found["fieldPath"] = f".{self.field}"
        return found


def with_rules(schema: dict[str, Any], *rules: CelRule) -> dict[str, Any]:
    """Return a JSON schema with rules added to those it has."""
    before = schema.get("x-kubernetes-validations", [])
    added = [rule.schema() for rule in rules]
    return {**schema, "x-kubernetes-validations": [*before, *added]} if added else schema


def quoted(text: str) -> str:
    """Write a text as CEL has it."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def matches(pattern: str, message: str) -> CelRule:
    """Return the rule that a text matches an expression of RE2."""
    return CelRule(f"self.matches({quoted(pattern)})", message)


def milliseconds(duration: str) -> str:
    """
    Return CEL for the milliseconds (a double) in the duration that the CEL `duration` yields.

    CEL's own durations have no days. What is no duration at all has its own refusal, and counts as
    what can be read of it.
    """
    part = f"double(p.find('^{_AMOUNT}'))"
    factor = "".join(f"p.endsWith('{unit}') ? {count} : " for unit, count in _MILLISECONDS)
    return f"{duration}.findAll('{_AMOUNT}(ms|s|m|h|d)').map(p, {part} * ({factor}{_DAY})).sum()"


DOMAIN = matches(
    rf"^{_DOMAIN}$", "must be a domain name without wildcards, such as example.com or mail.example"
)
DOMAIN_PATTERN = matches(
    rf"^{_DOMAIN_PATTERN}$",
    "must be a domain pattern; write example.com, *.example.com for its subdomains, or * alone",
)
_ADDRESS_PATTERN = (
    "must be an address pattern; write info@example.com, *@example.com, *@*.example.com or *"
)
ADDRESS_PATTERN = matches(rf"^([*]|([*]|[^*\pZ\pC]+)@{_DOMAIN_PATTERN})$", _ADDRESS_PATTERN)
# Short, as lists of it are long; that the domain fits is a rule of the whole Domain.
LISTED_ADDRESS = matches(r"^([*]|([*]|[^*\s]+)@\S+)$", _ADDRESS_PATTERN)
RATE = CelRule(
    f"self.matches({quoted(RATE_PATTERN)}) && self.matches('[1-9].*/.*[1-9]')",
    "must be a rate: how many in which window, both more than none; write it like 1000/1m",
)
_UNITS = ("k", "M", "G", "T", "P", "i", *"0123456789")
SIZE_UNIT = CelRule(
    f"type(self) == int || {' || '.join(f'self.endsWith({quoted(each)})' for each in _UNITS)}",
    "must be a size in bytes; write it like 1048576, 500M or 10Gi, without a B",
)
IP_ADDRESS = CelRule("isIP(self)", "must be an IP address; write 192.0.2.10 or 2001:db8::10")
NETWORK = (
    CelRule(
        "isCIDR(self) || isIP(self)",
        "must be a network; write 10.20.0.0/16, 192.0.2.7 or 2001:db8::/32",
    ),
    CelRule(
        "!isCIDR(self) || cidr(self) == cidr(self).masked()",
        "has bits set after its prefix; clear them, as in 10.0.0.0/8",
    ),
)
_UNBRACKETED = (
    "self.startsWith('[') && self.endsWith(']') ? self.substring(1, size(self) - 1) : self"
)
HOST = CelRule(
    f"isIP({_UNBRACKETED}) || {DOMAIN.cel}",
    "must be a host name or IP address; the port goes into the field port",
)


def loopback(host: str) -> str:
    """Return CEL for whether a host is this machine."""
    bare = f"{host}.replace('[', '').replace(']', '')"
    return f"({host}.lowerAscii() == 'localhost' || isIP({bare}) && ip({bare}).isLoopback())"
