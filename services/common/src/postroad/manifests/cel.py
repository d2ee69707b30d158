"""
Validation rules in CEL, which the API server evaluates; each has a message that says what to do.

For a text of the wrong form, JSON Schema reports only the expected regular expression. So the form
of a text is a rule, too, and not a `pattern`. A rule about one type is next to the type in
`kinds.types`. A rule across fields is next to the validator that checks the same
(`Part.api_rules`). The schema of the models brings both into the CRDs.

The rules accept all that the models accept, with two exceptions: IP addresses with a zone or an
embedded IPv4 address, and networks with a netmask instead of a prefix length. They cannot find all
that the models refuse. The operator reports the rest in the condition Accepted: invalid
internationalised names, two spellings of one host (with a final dot, internationalised, or of
IPv6), foreign addresses in an internationalised Domain and their too long local parts, and
everything about other objects.

The API server estimates the cost of a rule from the longest possible texts and lists, and refuses
a rule over its budget. So each text and list has a bound, and rules on the items of long lists are
short.
"""

from dataclasses import dataclass
from typing import Any

from postroad.units.quantities import RATE_PATTERN

# A letter, digit or _ of a domain's label, or any character beyond ASCII.
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
    A CEL condition on `self`; an object that does not meet it is refused with `message`.

    The refusal is reported at `field` (dotted) of the part that has the rule. `detail` is CEL for a
    message with values in it; if that fails, `message` is used.
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
    """Write a text as a CEL string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def matches(pattern: str, message: str) -> CelRule:
    """Return the rule that a text matches a regular expression (RE2)."""
    return CelRule(f"self.matches({quoted(pattern)})", message)


def milliseconds(duration: str) -> str:
    """
    Return CEL for the milliseconds (a double) in the duration that the CEL `duration` yields.

    CEL's own durations have no days. Another rule refuses a malformed duration; here it counts as
    the sum of its valid parts.
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
# Short, because lists of it are long; another rule of the Domain checks the addresses' domain.
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
    """Return CEL for whether a host is the loopback interface."""
    bare = f"{host}.replace('[', '').replace(']', '')"
    return f"({host}.lowerAscii() == 'localhost' || isIP({bare}) && ip({bare}).isLoopback())"
