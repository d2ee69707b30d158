"""Parts that several kinds have: references to Secrets and Relays, consent, next hops."""

from functools import cached_property
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from postroad.manifests.cel import CelRule
from postroad.manifests.kinds.part import Part, broken_rule
from postroad.manifests.kinds.types import (
    Count,
    ManifestHostName,
    NamespaceName,
    Port,
    ResourceName,
)

IMPLICIT_TLS_PORT = 465  # RFC 8314 §3.3: TLS from the first byte


class SecretRef(Part):
    """A Secret in the object's own namespace."""

    name: ResourceName
    """Name of the Secret."""


class RelayRef(Part):
    """A Relay, which must consent when it is in another namespace."""

    name: ResourceName
    """Name of the Relay."""
    namespace: NamespaceName | None = None
    """Namespace of the Relay. Default: the object's own."""


class PasswordAuth(Part):
    """A username and password kept in a Secret."""

    secret_ref: SecretRef
    """
    Secret in the object's own namespace, with the keys `username` and `password`. On Kubernetes it
    needs the label `postroad.dev/secret-type: login`, and for a Relay the annotation
    `postroad.dev/hosts` with the hosts that may have the login.
    """


class LabelRequirement(Part):
    """One requirement on labels, as in Kubernetes' label selectors."""

    key: str = Field(min_length=1, max_length=317)
    """The label's key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label's value relates to `values`."""
    values: tuple[Annotated[str, Field(max_length=63)], ...] = Field(default=(), max_length=64)
    """Values for In and NotIn; none for Exists and DoesNotExist."""

    @model_validator(mode="after")
    def _values_fit_operator(self) -> Self:
        wants_values = self.operator in ("In", "NotIn")
        if wants_values and not self.values:
            raise broken_rule("values", f"operator {self.operator} needs at least one value")
        if self.values and not wants_values:
            raise broken_rule("values", f"operator {self.operator} takes no values; remove them")
        return self

    api_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "!(self.operator in ['In', 'NotIn']) || has(self.values) && size(self.values) > 0",
            "operators In and NotIn need at least one value",
            "values",
        ),
        CelRule(
            "self.operator in ['In', 'NotIn'] || !has(self.values) || size(self.values) == 0",
            "operators Exists and DoesNotExist take no values; remove them",
            "values",
        ),
    )

    def admits(self, labels: dict[str, str]) -> bool:
        """Whether labels meet the requirement."""
        if self.operator == "Exists":
            return self.key in labels
        if self.operator == "DoesNotExist":
            return self.key not in labels
        return (labels.get(self.key) in self._set) == (self.operator == "In")

    @cached_property
    def _set(self) -> frozenset[str]:
        return frozenset(self.values)


class LabelSelector(Part):
    """Selects namespaces by their labels; all requirements must be met."""

    match_labels: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default_factory=dict, max_length=16
    )
    """Labels that a namespace must have, with these values."""
    match_expressions: tuple[LabelRequirement, ...] = Field(default=(), max_length=8)
    """Further requirements on a namespace's labels."""

    def admits(self, labels: dict[str, str]) -> bool:
        """Whether the selector matches a namespace with these labels."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            requirement.admits(labels) for requirement in self.match_expressions
        )


class AllowedNamespaces(Part):
    """Which other namespaces may use an object; its own always may."""

    from_: Literal["Same", "All", "Selector"] = Field(default="Same", alias="from")
    """
    Same: only the object's own namespace. All: every namespace. Selector: the namespaces that
    `selector` matches.
    """
    selector: LabelSelector | None = None
    """Selects namespaces by their labels. Only with `from: Selector`."""

    @model_validator(mode="after")
    def _selector_fits_from(self) -> Self:
        if self.from_ == "Selector" and self.selector is None:
            raise broken_rule("selector", "is required with from: Selector")
        if self.from_ != "Selector" and self.selector is not None:
            raise broken_rule("selector", f"has no meaning with from: {self.from_}; remove it")
        return self

    api_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "self.from != 'Selector' || has(self.selector)",
            "is required with from: Selector",
            "selector",
        ),
        CelRule(
            "self.from == 'Selector' || !has(self.selector)",
            "has a meaning with from: Selector only; remove it",
            "selector",
        ),
    )


class NextHop(Part):
    """A host to hand mail to."""

    host: ManifestHostName
    """Host name or IP address. A name is looked up for its addresses, never for its MX."""
    port: Port = 25
    """TCP port. 465 means TLS from the first byte."""
    priority: Count = Field(default=0, ge=0, le=65535)
    """Hosts of the lowest priority are tried first, as with MX preferences."""
    weight: Count = Field(default=1, ge=1, le=65535)
    """Share of mail among hosts of one priority."""


def check_hosts(hosts: tuple[NextHop, ...], field: str, *, implicit: bool | None = None) -> bool:
    """
    Return whether TLS starts with the first byte, for all hosts of one list.

    `implicit` is what the manifest says itself, None to go by the port.
    """
    seen = set()
    for index, hop in enumerate(hosts):
        if (hop.host, hop.port) in seen:
            raise broken_rule(f"{field}[{index}].host", f"{hop.host}:{hop.port} is listed twice")
        seen.add((hop.host, hop.port))
    if implicit is not None:
        return implicit
    kinds = {hop.port == IMPLICIT_TLS_PORT for hop in hosts}
    if len(kinds) == 2:
        raise broken_rule(
            field,
            "port 465 speaks TLS from the first byte and the other ports do not;"
            " list only one sort of port",
        )
    return kinds == {True}


def host_rules(field: str, *, by_port: str = "true") -> tuple[CelRule, ...]:
    """Return the checks of `check_hosts` as CEL rules; `by_port` is CEL, too."""
    hosts = f"self.{field}"
    return (
        CelRule(
            f"{hosts}.all(h, {hosts}.exists_one(o,"
            " o.host.lowerAscii() == h.host.lowerAscii() && o.port == h.port))",
            "has a host with one port twice; remove one of the two",
            field,
        ),
        CelRule(
            f"!({by_port}) || {hosts}.all(h, h.port == {IMPLICIT_TLS_PORT})"
            f" || {hosts}.all(h, h.port != {IMPLICIT_TLS_PORT})",
            "port 465 speaks TLS from the first byte and the other ports do not;"
            " list only one sort of port",
            field,
        ),
    )
