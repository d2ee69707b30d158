"""
The types of manifest fields: durations, sizes, rates, domains, patterns, networks, names.

Each type joins a reader (`readers`) with its JSON Schema, from which CRDs and docs are made, and
with the rules (CEL) by which the API server refuses what the reader refuses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
)
from pydantic.json_schema import JsonSchemaValue, WithJsonSchema
from pydantic_core import core_schema

from postroad.mail.ip_address import Network
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
from postroad.manifests.kinds.readers import (
    read_address_pattern,
    read_domain,
    read_domain_pattern,
    read_host,
    read_host_name,
    read_network,
    read_rate,
    read_size,
    read_source,
    shown,
)
from postroad.policy.model import Rate
from postroad.units.quantities import (
    DURATION_PATTERN,
    LONGEST_DURATION,
    LONGEST_RATE,
    QUANTITY_PATTERN,
    format_duration,
    parse_duration,
)

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
NAMESPACE_PATTERN = rf"^{_LABEL}$"
NAME_PATTERN = rf"^{_LABEL}(?:\.{_LABEL})*$"  # RFC 1123, as Kubernetes wants of object names


def _reads(parse: Callable[[str], object], what: str) -> BeforeValidator:
    def read(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(f"must be {what}, not {shown(value)}")
        return parse(value)

    return BeforeValidator(read)


@dataclass(frozen=True, slots=True)
class Within:
    """Bounds of a duration; with `never`, 0s is allowed too."""

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
        # Another rule refuses malformed durations.
        low, high = (each / timedelta(milliseconds=1) for each in (self.low, self.high))
        value = milliseconds("self")
        within = f"{value} >= {low} && {value} <= {high}"
        never = f" || {value} == 0.0" if self.never else ""
        return f"!self.matches({quoted(DURATION_PATTERN)}) || {within}{never}"


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
    BeforeValidator(read_size),
    WithJsonSchema(
        with_rules(
            {
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "x-kubernetes-int-or-string": True,
                "x-postroad-written": "size",
                # As a rule it would exceed the cost budget, since the text has no bound.
                "pattern": QUANTITY_PATTERN,
                "minimum": 0,
            },
            SIZE_UNIT,
        )
    ),
]
MessageRate = Annotated[
    Rate,
    _reads(read_rate, "a rate such as 1000/1m"),
    _text_schema("rate", RATE, maxLength=LONGEST_RATE),
]
DomainName = Annotated[
    str,
    _reads(read_domain, "a domain name"),
    _text_schema("domain", DOMAIN, maxLength=253),
]
EhloName = Annotated[
    str,
    _reads(read_host_name, "a host name"),
    _text_schema("domain", DOMAIN, maxLength=253),
]
DomainPattern = Annotated[
    str,
    _reads(read_domain_pattern, "a domain pattern"),
    _text_schema("domain pattern", DOMAIN_PATTERN, maxLength=255),
]
AddressPattern = Annotated[
    str,
    _reads(read_address_pattern, "an address pattern"),
    _text_schema("address pattern", ADDRESS_PATTERN, maxLength=320),
]
ListedAddress = Annotated[
    str,
    _reads(read_address_pattern, "an address pattern"),
    _text_schema("address pattern", LISTED_ADDRESS, maxLength=320),
]
NetworkText = Annotated[
    Network,
    _reads(read_network, "a network"),
    _text_schema("network", *NETWORK, maxLength=49),
]
ManifestHostName = Annotated[
    str,
    _reads(read_host, "a host name or IP address"),
    _text_schema("host name or IP address", HOST, maxLength=255),
]
SourceAddress = Annotated[
    str,
    _reads(read_source, "an IP address"),
    _text_schema("IP address", IP_ADDRESS, maxLength=45),
]
