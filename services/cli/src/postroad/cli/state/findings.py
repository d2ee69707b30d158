"""
What `postroad up` has found of its objects, in a file of the state folder that `status` reads.

On Kubernetes each object's status tells this; on one machine there is no API to ask. The file is
replaced whole, for its owner alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from postroad.cli.state.folder import StateFolder

MOST = 1000  # mistakes, and troubles, that are kept


@dataclass(frozen=True, slots=True)
class ObjectTrouble:
    """Something that is not right with an object: a condition that is not true, and why."""

    object: str  # kind and namespace/name
    condition: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """How much of one limit of a Quota is used; `subject` is empty where it counts one value."""

    quota: str
    limit: str
    subject: str
    used: int
    max: int
    resets: str  # UTC

    @property
    def share(self) -> float:
        """How much is used, as a share of what there is."""
        return self.used / max(1, self.max)


@dataclass(frozen=True, slots=True)
class Findings:
    """All of it; `mistakes` are the sentences of `postroad check`."""

    at: datetime
    mistakes: Sequence[str] = ()
    troubles: Sequence[ObjectTrouble] = ()
    quotas: Sequence[QuotaUse] = ()
    more: int = 0  # mistakes and troubles that are not kept

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "at": self.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "mistakes": list(self.mistakes),
            "troubles": [asdict(trouble) for trouble in self.troubles],
            "quotas": [asdict(quota) for quota in self.quotas],
            "more": self.more,
        }


def write_findings(state: StateFolder, findings: Findings) -> None:
    """Replace the file; OSError when that cannot be done."""
    state.write_private(state.findings, json.dumps(findings.as_json()))


def read_findings(state: StateFolder) -> Findings | None:
    """Return what stands in the file; None when there is none, or another release's."""
    try:
        found: Mapping[str, Any] = json.loads(state.findings.read_text())
        return Findings(
            at=datetime.fromisoformat(found["at"]),
            mistakes=tuple(found["mistakes"]),
            troubles=tuple(ObjectTrouble(**each) for each in found["troubles"]),
            quotas=tuple(QuotaUse(**each) for each in found["quotas"]),
            more=int(found["more"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
