"""
What is wrong with the objects of `postroad up`: a file in the state folder that `status` reads.

On Kubernetes, each object's status has this; on one machine there is no API to ask. The file is
replaced as a whole, and only its owner can read it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from postroad.cli.state.folder import StateFolder

MOST = 1000  # entries that are kept, of mistakes, troubles and quotas each


@dataclass(frozen=True, slots=True)
class ObjectTrouble:
    """Something wrong with an object: a condition that is not true, and why."""

    object: str  # kind and namespace/name
    condition: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """How much of one limit of a Quota is used; `subject` is empty if the Quota has one count."""

    quota: str
    limit: str
    subject: str
    used: int
    max: int
    resets: str  # UTC

    @property
    def share(self) -> float:
        """The used share, from 0 to 1."""
        return self.used / max(1, self.max)


@dataclass(frozen=True, slots=True)
class Findings:
    """The content of the file; `mistakes` are sentences as in `postroad check`."""

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
    """Replace the file; OSError if that fails."""
    state.write_private(state.findings, json.dumps(findings.as_json()))


def read_findings(state: StateFolder) -> Findings | None:
    """Return the content of the file; None if there is none, or another release wrote it."""
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
