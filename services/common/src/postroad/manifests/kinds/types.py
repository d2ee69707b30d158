"""
What manifest fields are made of: durations, sizes, rates, domains, patterns, networks, references.

Each type reads what a person writes into the value the product works with, says in its error what
to write instead, and tells JSON Schema (from which CRDs and docs are made) what it looks like.
"""

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue, WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema

from postroad.mail.address import MAX_LOCAL_PART, host_name, is_number, normalise_domain
from postroad.mail.errors import AddressSyntaxError
from postroad.mail.ip_address import unmapped, unmapped_network
from postroad.manifests.cel import (
    ADDRESS_PATTERN,
    DOMAIN,
    DOMAIN_PATTERN,
    HOST,
    IP_ADDRESS,
    LISTED_ADDRESS,
    NETWORK,
    RATE,
    SIZE_UNIT,
    CelRule,
    matches,
    milliseconds,
    quoted,
    with_rules,
)
from postroad.policy.model import Network, Rate
from postroad.units.quantities import (
    DURATION_PATTERN,
    LONGEST_DURATION,
    LONGEST_RATE,
    QUANTITY_PATTERN,
    format_duration,
    parse_duration,
    parse_quantity,
    parse_rate,
)

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
NAMESPACE_PATTERN = rf"^{_LABEL}$"
NAME_PATTERN = rf"^{_LABEL}(?:\.{_LABEL})*$"  # RFC 1123, as Kubernetes wants of object names


class Part(BaseModel):
    """Base of everything in a manifest: camelCase in YAML, unknown fields refused, immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    api_rules: ClassVar[tuple[CelRule, ...]] = ()
    """What the part's validators say, for the API server."""

    @classmethod
    def at_odds(cls, given: Mapping[str, object]) -> Iterator[PydanticCustomError]:
        """
        Yield what is wrong with which fields are given, whatever stands in them.

        Validators across fields are asked only where each field is right; asked beside them, this
        tells all mistakes at once.
        """
        yield from ()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        reference = handler(schema)
        definition = handler.resolve_ref_schema(reference)
        definition.update(with_rules(definition, *cls.api_rules))
        return reference


def broken_rule(field: str, message: str) -> PydanticCustomError:
    """Return the error of a rule across fields, to be shown at `field` (dotted) of the part."""
    return PydanticCustomError("rule", "{message}", {"field": field, "message": message})


def _reads(parse: Callable[[str], object], what: str) -> BeforeValidator:
    def read(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(f"must be {what}, not {shown(value)}")
        return parse(value)

    return BeforeValidator(read)


def shown(value: object) -> str:
    """Return a value as an error may quote it: as in YAML, and cut when long."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@dataclass(frozen=True, slots=True)
class Within:
    """Bounds of a duration; with `never`, 0s is admitted too."""

    low: timedelta
    high: timedelta
    never: bool = False

    def __str__(self) -> str:
        also = ", or 0s for never" if self.never else ""
        return f"from {format_duration(self.low)} to {format_duration(self.high)}{also}"

    def check(self, value: timedelta) -> timedelta:
        """Return the duration; ValueError when it is out of bounds."""
        if not (self.low <= value <= self.high or (self.never and not value)):
            raise ValueError(f"must be {self}, not {format_duration(value)}")
        return value

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        found = {**handler(schema), "x-postroad-bounds": str(self)}
        return with_rules(found, CelRule(self._cel, f"must be {self}"))

    @property
    def _cel(self) -> str:
        # What is no duration has been told so by another rule.
        low, high = (each / timedelta(milliseconds=1) for each in (self.low, self.high))
        value = milliseconds("self")
        within = f"{value} >= {low} && {value} <= {high}"
        never = f" || {value} == 0.0" if self.never else ""
        return f"!self.matches({quoted(DURATION_PATTERN)}) || {within}{never}"


def _read_size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str):
        raise ValueError(f"must be a size such as 10Gi, not {shown(value)}")
    return parse_quantity(value)


def _read_rate(text: str) -> Rate:
    return Rate(*parse_rate(text))


def _read_domain(text: str) -> str:
    """Read a domain name (never an address literal) into lower-case A-labels."""
    try:
        domain = normalise_domain(text)
    except AddressSyntaxError as error:
        raise ValueError(f"{shown(text)} is not a domain name: {error}") from None
    if domain.startswith("["):
        raise ValueError(f"{shown(text)} is an address literal; write a domain name")
    if is_number(domain):
        raise ValueError(f"{shown(text)} ends in a number, as no domain name does")
    return domain


def _read_host_name(text: str) -> str:
    """Read the name of a host as it says it of itself: a domain name without underscores."""
    domain = _read_domain(text)
    try:
        return host_name(domain)
    except AddressSyntaxError as error:
        raise ValueError(f"{shown(text)} is not a host name: {error}") from None


def _read_domain_pattern(text: str) -> str:
    if text == "*":
        return text
    if text.startswith("*."):
        return f"*.{_read_domain(text[2:])}"
    if "*" in text:
        raise ValueError(
            f"{shown(text)} has a * inside; write example.com, *.example.com or * alone"
        )
    return _read_domain(text)


def _read_address_pattern(text: str) -> str:
    if text == "*":
        return text
    local_part, at, domain = text.rpartition("@")
    if not at or not local_part:
        raise ValueError(
            f"{shown(text)} is not an address pattern; write info@example.com, *@example.com or *"
        )
    if "*" in local_part and local_part != "*":
        raise ValueError(f"{shown(text)} has a * in a longer local part; * stands alone before @")
    too_long = len(local_part.encode()) > MAX_LOCAL_PART
    if too_long or any(c.isspace() or not c.isprintable() for c in local_part):
        raise ValueError(f"{shown(text)} has a local part that no address can have")
    return f"{local_part}@{_read_domain_pattern(domain)}"


def _read_network(text: str) -> Network:
    try:
        return unmapped_network(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"{shown(text)} is not a network; write 10.20.0.0/16, 192.0.2.7 or 2001:db8::/32"
        ) from None
    raise ValueError(f"{shown(text)} has bits set after its prefix; write {meant}")


def _read_host(text: str) -> str:
    """Read the name or IP address of a next hop; IPv6 addresses may stand in brackets."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(unmapped(ipaddress.ip_address(bare)))
    except ValueError:
        pass
    if ":" in bare:
        raise ValueError(f"{shown(text)} is not a host; the port goes into the field port")
    return _read_domain(text)


def _read_ip(text: str) -> str:
    try:
        return str(unmapped(ipaddress.ip_address(text)))
    except ValueError:
        raise ValueError(f"{shown(text)} is not an IP address; write 192.0.2.10") from None


def _text_schema(written: str, *rules: CelRule, **more: object) -> WithJsonSchema:
    schema = {"type": "string", "x-postroad-written": written, **more}
    return WithJsonSchema(with_rules(schema, *rules))


def _name(longest: int, pattern: str, message: str) -> Any:
    rules = with_rules({}, matches(pattern, message))
    return Field(max_length=longest, pattern=pattern, json_schema_extra=rules)


Count = Annotated[int, Strict()]
Switch = Annotated[bool, Strict()]
Factor = Annotated[float, Strict()]
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]
ResourceName = Annotated[
    str,
    _name(253, NAME_PATTERN, "must be a name of lower-case letters, digits, - and ."),
]
NamespaceName = Annotated[
    str, _name(63, NAMESPACE_PATTERN, "must be a namespace: lower-case letters, digits and -")
]
PoolName = Annotated[
    str, _name(63, NAMESPACE_PATTERN, "must be a name of lower-case letters, digits and -")
]
NamespacePattern = Annotated[
    str, _name(63, rf"^(?:\*|{_LABEL})$", "must be the name of a namespace, or * for each")
]
ClientPattern = Annotated[
    str,
    _name(
        317,
        rf"^(?:(?:\*|{_LABEL})/)?(?:\*|{_LABEL}(?:\.{_LABEL})*)$",
        "must be the name of a Client or namespace/name; * stands for every name",
    ),
]

Duration = Annotated[
    timedelta,
    _reads(parse_duration, "a duration such as 15m"),
    _text_schema(
        "duration",
        matches(DURATION_PATTERN, "must be a duration; write it like 30s, 15m, 1h30m or 5d"),
        maxLength=LONGEST_DURATION,
    ),
]
Size = Annotated[
    int,
    BeforeValidator(_read_size),
    WithJsonSchema(
        with_rules(
            {
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "x-kubernetes-int-or-string": True,
                "x-postroad-written": "size",
                # Too dear for a rule, since the text has no bound there.
                "pattern": QUANTITY_PATTERN,
                "minimum": 0,
            },
            SIZE_UNIT,
        )
    ),
]
MessageRate = Annotated[
    Rate,
    _reads(_read_rate, "a rate such as 1000/1m"),
    _text_schema("rate", RATE, maxLength=LONGEST_RATE),
]
DomainName = Annotated[
    str,
    _reads(_read_domain, "a domain name"),
    _text_schema("domain", DOMAIN, maxLength=253),
]
EhloName = Annotated[
    str,
    _reads(_read_host_name, "a host name"),
    _text_schema("domain", DOMAIN, maxLength=253),
]
DomainPattern = Annotated[
    str,
    _reads(_read_domain_pattern, "a domain pattern"),
    _text_schema("domain pattern", DOMAIN_PATTERN, maxLength=255),
]
AddressPattern = Annotated[
    str,
    _reads(_read_address_pattern, "an address pattern"),
    _text_schema("address pattern", ADDRESS_PATTERN, maxLength=320),
]
ListedAddress = Annotated[
    str,
    _reads(_read_address_pattern, "an address pattern"),
    _text_schema("address pattern", LISTED_ADDRESS, maxLength=320),
]
NetworkText = Annotated[
    Network,
    _reads(_read_network, "a network"),
    _text_schema("network", *NETWORK, maxLength=49),
]
HostName = Annotated[
    str,
    _reads(_read_host, "a host name or IP address"),
    _text_schema("host name or IP address", HOST, maxLength=255),
]
IpAddress = Annotated[
    str,
    _reads(_read_ip, "an IP address"),
    _text_schema("IP address", IP_ADDRESS, maxLength=45),
]
