"""
The result of compiling: the entries to publish, and the conditions of each object.

These are plain values for the publisher, the command and the operator. This module does not import
the models of manifests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from postroad.manifests.objects import Path, Reference
from postroad.policy.model import Entry


class ConditionType(StrEnum):
    """What a condition is about; the operator has further ones, which only a cluster knows."""

    READY = "Ready"  # the summary
    ACCEPTED = "Accepted"  # the object is valid, and the objects it refers to admit it
    SECRETS_RESOLVED = "SecretsResolved"
    SENDERS_ALLOWED = "SendersAllowed"  # of a Client: every sender domain admits it
    DOMAIN_CLAIMED = "DomainClaimed"  # of a Domain: it takes the mail of other namespaces, too


class Reason(StrEnum):
    """Why a condition has its status, in one word for programs."""

    COMPILED = "Compiled"
    ACCEPTED = "Accepted"
    RESOLVED = "Resolved"
    ALLOWED = "Allowed"
    INVALID = "Invalid"
    TOO_LARGE = "TooLarge"
    TOO_MANY_POOLS = "TooManyPools"
    STALE = "Stale"
    RELAY_NOT_FOUND = "RelayNotFound"
    RELAY_NOT_READY = "RelayNotReady"
    NOT_ALLOWED_BY_RELAY = "NotAllowedByRelay"
    DOMAIN_CONFLICT = "DomainConflict"
    USERNAME_CONFLICT = "UsernameConflict"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - a reason, no secret
    SECRET_INVALID = "SecretInvalid"  # noqa: S105
    SECRET_NOT_OPTED_IN = "SecretNotOptedIn"  # noqa: S105
    HOST_NOT_ALLOWED = "HostNotAllowed"
    SENDER_NOT_ALLOWED = "SenderNotAllowed"
    NOT_IN_RELEASE_NAMESPACE = "NotInReleaseNamespace"
    TRUSTED = "Trusted"
    GRANTED = "Granted"
    TXT_RECORD = "TXTRecord"
    MX_RECORD = "MXRecord"
    NOT_CONFIRMED = "NotConfirmed"
    CLAIMED_ELSEWHERE = "ClaimedElsewhere"
    NOT_PROVEN = "NotProven"
    LOOKUP_FAILED = "LookupFailed"
    PENDING = "Pending"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition in an object's status; `path` is the field that the message is about."""

    type: ConditionType
    status: bool
    reason: Reason
    message: str
    observed_generation: int = 0
    path: Path = ()


@dataclass(frozen=True, slots=True)
class Compiled:
    """
    The result of compiling.

    `entries` has the keys of the published configuration; `conditions` has every declared object.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    conditions: Mapping[Reference, tuple[Condition, ...]] = field(default_factory=dict)

    def ready(self, reference: Reference) -> bool:
        """Whether an object is in force as it is declared."""
        return any(
            condition.type is ConditionType.READY and condition.status
            for condition in self.conditions.get(reference, ())
        )
