"""What the compiler finds wrong with an object, and the conditions that follow from that."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from postroad.manifests.compiler.result import Condition, ConditionType, Reason
from postroad.manifests.objects import Declared, Path
from postroad.policy.model import Credentials, ObjectKey

# These remove an object from the configuration, because a person has decided so: its owner, or
# somebody whose consent it needs. With all other reasons its last good form stays in force.
REMOVING = frozenset(
    {Reason.DOMAIN_CONFLICT, Reason.USERNAME_CONFLICT, Reason.NOT_ALLOWED_BY_RELAY}
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with an object; it makes the condition `type` False."""

    type: ConditionType
    reason: Reason
    message: str
    path: Path


def refused(reason: Reason, message: str, *path: str | int) -> Finding:
    """Return a finding that makes an object not accepted."""
    return Finding(ConditionType.ACCEPTED, reason, message, ("spec", *path))


def invalid(declared: Declared) -> list[Finding]:
    """Return the finding for a manifest's own problems."""
    if not declared.problems:
        return []
    first, *others = declared.problems
    more = f" (and {len(others)} more)" if others else ""
    message = f"{first.field}: {first.reason}{more}"
    return [Finding(ConditionType.ACCEPTED, Reason.INVALID, message, first.path)]


_GOOD = {
    ConditionType.ACCEPTED: (Reason.ACCEPTED, "the object is valid"),
    ConditionType.SECRETS_RESOLVED: (Reason.RESOLVED, "every Secret was read"),
    ConditionType.SENDERS_ALLOWED: (Reason.ALLOWED, "every sender domain admits this Client"),
}


def conditions(
    declared: Declared,
    types: Iterable[ConditionType],
    findings: list[Finding],
    *,
    stale: bool,
    note: str = "",
) -> tuple[Condition, ...]:
    """
    Return an object's conditions: the summary first, then one for each of `types`.

    `note` is a remark on an object that is in force and has no findings.
    """
    generation = declared.generation
    made = []
    for of in types:
        wrong = [finding for finding in findings if finding.type is of]
        if wrong:
            message = "; ".join(finding.message for finding in wrong)
            made.append(Condition(of, False, wrong[0].reason, message, generation, wrong[0].path))
        else:
            reason, message = _GOOD[of]
            made.append(Condition(of, True, reason, message, generation))
    if not findings:
        message = "the object is part of the configuration" + (f"; {note}" if note else "")
        ready = (True, Reason.COMPILED, message)
    elif stale:
        message = f"the last good form stays in force: {findings[0].message}"
        ready = (False, Reason.STALE, message)
    else:
        ready = (False, findings[0].reason, findings[0].message)
    return (Condition(ConditionType.READY, *ready, generation), *made)


def read_credentials(
    secrets: Mapping[ObjectKey, Mapping[str, bytes]], key: ObjectKey, path: Path
) -> Credentials | Finding:
    """Return the username and password of a Secret, or why they cannot be used."""
    data = secrets.get(key)
    if data is None:
        message = f"there is no Secret {key}; make it, with the keys username and password"
        return Finding(ConditionType.SECRETS_RESOLVED, Reason.SECRET_NOT_FOUND, message, path)
    values = []
    for name in ("username", "password"):
        value = data.get(name)
        trouble = "lacks the key" if value is None else _trouble(value)
        if value is None or trouble:
            message = (
                f"Secret {key} {trouble} {name}"
                if value is None
                else (f"Secret {key}: {name} {trouble}")
            )
            return Finding(ConditionType.SECRETS_RESOLVED, Reason.SECRET_INVALID, message, path)
        values.append(value.decode("utf-8"))
    return Credentials(*values)


def _trouble(value: bytes) -> str:
    """Say why a username or password cannot be sent in a login; "" if it can."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return "is not UTF-8 text"
    if not text:
        return "is empty"
    if len(value) > 1024:
        return "is longer than 1024 octets"
    if text.endswith("\n"):
        return "ends in a line break; make the Secret without it (printf, not echo)"
    if any(unicodedata.category(char) == "Cc" for char in text):
        return "has a control character"
    return ""
