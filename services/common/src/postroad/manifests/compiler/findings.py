"""What the compiler finds wrong with an object, and what is in force of it in spite of that."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from postroad.manifests.compiler.result import Condition, ConditionType, Reason
from postroad.manifests.objects import (
    HOSTS_ANNOTATION,
    SECRET_LABEL,
    SECRET_USE,
    Declared,
    LoginSecret,
    Objects,
    Path,
)
from postroad.policy.model import Credentials, Entry, ObjectKey

# These remove an object from the configuration, because a person has decided so: its owner, or
# somebody whose consent it needs. With all other reasons its last good form stays in force.
REMOVING = frozenset(
    {Reason.DOMAIN_CONFLICT, Reason.USERNAME_CONFLICT, Reason.NOT_ALLOWED_BY_RELAY}
)


NO_CONSENT = frozenset({Reason.SECRET_NOT_OPTED_IN, Reason.HOST_NOT_ALLOWED})
"""The owner of a Secret does not let it be used so."""


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


class Settled(NamedTuple):
    """What is in force of an object, if anything; `stale` if that is its last good form."""

    in_force: Entry | None
    stale: bool
    conditions: tuple[Condition, ...]


def settle(
    declared: Declared,
    types: Iterable[ConditionType],
    findings: list[Finding],
    entry: Entry | None,
    *,
    kept: Entry | None = None,
    fallback: Entry | None = None,
    note: str = "",
) -> Settled:
    """Put the entry in force; with findings, the last good one (`kept`) or the fallback instead."""
    in_force, stale = entry, False
    if findings:
        stale = kept is not None and not decided(findings)
        in_force = kept if stale else fallback
    return Settled(in_force, stale, conditions(declared, types, findings, stale=stale, note=note))


def decided(findings: Iterable[Finding]) -> bool:
    """Whether a person has decided that the last good form must not stay in force."""
    return any(finding.reason in REMOVING for finding in findings)


def read_credentials(
    objects: Objects, key: ObjectKey, path: Path, *, hosts: Iterable[str] = ()
) -> Credentials | Finding:
    """
    Return the username and password of a Secret, or why they cannot be used.

    `hosts` are those to which a Relay sends them.
    """
    secret = objects.secrets.get(key)
    if secret is None:
        message = f"there is no Secret {key}; make it, with the keys username and password"
        return Finding(ConditionType.SECRETS_RESOLVED, Reason.SECRET_NOT_FOUND, message, path)
    lack = _lack_of_consent(secret, hosts, needed=objects.opt_in)
    if lack is not None:
        reason, message = lack
        return Finding(ConditionType.SECRETS_RESOLVED, reason, f"Secret {key} {message}", path)
    data = secret.data
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


def _lack_of_consent(
    secret: LoginSecret, hosts: Iterable[str], *, needed: bool
) -> tuple[Reason, str] | None:
    """Return why a Secret may not be used; what its owner has named counts, needed or not."""
    if needed and not secret.opted_in:
        message = f"is not for logins; if it may be used, label it {SECRET_LABEL}={SECRET_USE}"
        return Reason.SECRET_NOT_OPTED_IN, message
    if secret.hosts is None and not needed:
        return None
    for host in hosts:
        if not secret.may_go_to(host):
            message = f"may not go to {host}; the hosts in its annotation {HOSTS_ANNOTATION} may"
            return Reason.HOST_NOT_ALLOWED, message
    return None


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
