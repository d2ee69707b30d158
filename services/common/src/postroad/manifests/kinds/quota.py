"""The Quota manifest: how much somebody may send in a window of time."""

from datetime import timedelta
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from postroad.manifests.cel import CelRule, milliseconds
from postroad.manifests.kinds.part import Part, broken_rule
from postroad.manifests.kinds.types import (
    AddressPattern,
    ClientPattern,
    Count,
    DomainPattern,
    Duration,
    NamespacePattern,
    Size,
    Within,
)
from postroad.policy.model import OnExceeded, QuotaUnit


def _one_of(names: tuple[str, ...]) -> CelRule:
    # `namespace` is a reserved word in CEL, which writes the field as `__namespace__`.
    said = (f"has(self.{'__namespace__' if name == 'namespace' else name})" for name in names)
    return CelRule(
        f"[{', '.join(said)}].exists_one(said, said)",
        f"must have exactly one of {', '.join(names)}",
    )


class SenderMatch(Part):
    """Senders, each counted for itself."""

    match: AddressPattern
    """Which senders: *@example.com, or * for every one. The empty sender never matches."""


class ClientNetwork(Part):
    """Networks that mail comes from, each counted for itself."""

    prefix_length: Count = Field(default=32, ge=8, le=32)
    """IPv4 addresses with this many leading bits in common count together."""
    prefix_length_v6: Count = Field(default=64, ge=16, le=128, alias="prefixLengthV6")
    """IPv6 addresses with this many leading bits in common count together."""


class Subject(Part):
    """What the Quota counts. Exactly one field; with a pattern, each value counts for itself."""

    namespace: NamespacePattern | None = None
    """All Clients of a namespace together. *: each namespace separately."""
    client: ClientPattern | None = None
    """A Client of the Quota's own namespace, or namespace/name. *: each name separately."""
    sender_domain: DomainPattern | None = None
    """Mail that Clients send from a domain: example.com, *.example.com or *."""
    sender: SenderMatch | None = None
    """Mail that Clients send from an address."""
    client_network: ClientNetwork | None = None
    """Mail that comes from a network, from Clients and from everybody else."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        said = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(said) != 1:
            raise broken_rule(
                "",
                "must have exactly one of namespace, client, senderDomain, sender, clientNetwork;"
                f" it has {len(said) or 'none'}",
            )
        return self

    api_rules: ClassVar[tuple[CelRule, ...]] = (
        _one_of(("namespace", "client", "senderDomain", "sender", "clientNetwork")),
    )


class Limit(Part):
    """A most for each window; windows start at multiples of their length since 1970 (UTC)."""

    messages: Count | None = Field(default=None, ge=0, le=10**12)
    """Most messages per window. Exactly one of messages, recipients and bytes."""
    recipients: Count | None = Field(default=None, ge=0, le=10**12)
    """Most recipients per window."""
    bytes: Size | None = None
    """Most content per window, such as 10Gi."""
    per: Annotated[Duration, Within(timedelta(seconds=1), timedelta(days=31))]
    """Length of the window, in whole seconds: 1m, 1h, 1d."""

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        said = [unit for unit in QuotaUnit if getattr(self, unit.value) is not None]
        if len(said) != 1:
            raise broken_rule(
                "",
                "must have exactly one of messages, recipients, bytes;"
                f" it has {len(said) or 'none'}",
            )
        if self.per % timedelta(seconds=1):
            raise broken_rule("per", "must be in whole seconds")
        return self

    api_rules: ClassVar[tuple[CelRule, ...]] = (
        _one_of(tuple(QuotaUnit)),
        CelRule(
            f"double(int({milliseconds('self.per')} / 1000.0)) * 1000.0"
            f" == {milliseconds('self.per')}",
            "must be in whole seconds, such as 90s",
            "per",
        ),
    )

    @property
    def unit(self) -> QuotaUnit:
        """What is counted."""
        return next(unit for unit in QuotaUnit if getattr(self, unit.value) is not None)

    @property
    def maximum(self) -> int:
        """How many per window."""
        maximum: int = getattr(self, self.unit.value)
        return maximum


class QuotaSpec(Part):
    """How much may be sent. A message counts against every Quota whose subject matches it."""

    subject: Subject
    """What the Quota counts."""
    limits: tuple[Limit, ...] = Field(min_length=1, max_length=16)
    """What may be sent per window. All limits apply."""
    on_exceeded: OnExceeded = OnExceeded.DEFER
    """
    Defer: 451 4.7.1, the client tries again. Reject: 550 5.7.1. Hold: accepted, and held until
    somebody releases it; all other Quotas count it, and may refuse it. A process may take a part of
    a Quota in advance, and give back what it does not use. Until 12 s after it took that part, the
    reply is 451 4.7.1 instead of Reject or Hold.
    """

    @model_validator(mode="after")
    def _limits_differ(self) -> Self:
        seen = set()
        for index, limit in enumerate(self.limits):
            if (limit.unit, limit.per) in seen:
                raise broken_rule(
                    f"limits[{index}].{limit.unit.value}",
                    f"{limit.unit.value} are limited twice for one window; keep the lower limit",
                )
            seen.add((limit.unit, limit.per))
        return self

    api_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "self.limits.all(l, self.limits.exists_one(o, has(o.messages) == has(l.messages)"
            " && has(o.recipients) == has(l.recipients)"
            f" && {milliseconds('o.per')} == {milliseconds('l.per')}))",
            "limits one thing twice for one window; keep the lower limit",
            "limits",
        ),
    )
