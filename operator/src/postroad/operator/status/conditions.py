"""
Merges conditions into those of an object's status, by the rules of Kubernetes. No I/O.

`lastTransitionTime` changes only with `status`, so it tells since when a condition holds. A
condition of ours that no longer applies is removed. Conditions that others have added stay.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from postroad.mail.visible import visible


class Truth(StrEnum):
    """A condition's status."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Type(StrEnum):
    """The types of the operator's conditions, in the order in which they are listed."""

    READY = "Ready"
    ACCEPTED = "Accepted"
    SECRETS_RESOLVED = "SecretsResolved"
    SENDERS_ALLOWED = "SendersAllowed"
    DOMAIN_CLAIMED = "DomainClaimed"
    PROGRAMMED = "Programmed"
    DNS_VERIFIED = "DNSVerified"
    REACHABLE = "Reachable"
    STREAM_REFUSES_WRITES = "StreamRefusesWrites"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A condition without its `lastTransitionTime`."""

    type: Type
    status: Truth
    reason: str
    message: str


_LONGEST_MESSAGE = 4096  # of what the schema admits


def merge(
    previous: Sequence[Mapping[str, Any]],
    judgements: Iterable[Judgement],
    *,
    generation: int,
    now: datetime,
) -> list[dict[str, Any]]:
    """Return an object's conditions: the judgements with their times, then those of others."""
    before = {str(each.get("type")): each for each in previous}
    merged = [_dated(each, before.get(each.type), generation, now) for each in judgements]
    foreign = [dict(each) for each in previous if each.get("type") not in set(Type)]
    return merged + foreign


def _dated(
    judgement: Judgement, before: Mapping[str, Any] | None, generation: int, now: datetime
) -> dict[str, Any]:
    same = before is not None and before.get("status") == judgement.status
    since = before.get("lastTransitionTime") if before is not None and same else None
    return {
        "type": str(judgement.type),
        "status": str(judgement.status),
        "reason": judgement.reason,
        # A DNS record or a host may be quoted in it.
        "message": visible(judgement.message)[:_LONGEST_MESSAGE],
        "lastTransitionTime": since or timestamp(now),
        "observedGeneration": generation,
    }


def find(status: Mapping[str, Any], of: Type) -> Mapping[str, Any] | None:
    """Return an object's condition of a type, None if it has none."""
    for each in status.get("conditions") or ():
        if isinstance(each, Mapping) and each.get("type") == of:
            return each
    return None


def undated(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return a status without the times of its conditions, for comparison."""
    said = [
        {name: value for name, value in each.items() if name != "lastTransitionTime"}
        for each in status.get("conditions") or ()
    ]
    return {**status, "conditions": said}


def timestamp(moment: datetime) -> str:
    """Return a time in the form of Kubernetes, in whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
