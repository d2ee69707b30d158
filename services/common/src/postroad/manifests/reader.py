"""
Reads a parsed YAML or JSON object into a declared object, or into a list of its problems.

The models of the kinds are in `kinds`. This module chooses the model, reads metadata, Secrets and
Namespaces, and reports problems by the field names of the YAML.
"""

import base64
import binascii
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from postroad.manifests.kinds.client import ClientSpec
from postroad.manifests.kinds.domain import DomainSpec
from postroad.manifests.kinds.domain_grant import DomainGrantSpec
from postroad.manifests.kinds.part import Part
from postroad.manifests.kinds.quota import QuotaSpec
from postroad.manifests.kinds.readers import shown
from postroad.manifests.kinds.relay import RelaySpec
from postroad.manifests.kinds.types import NAME_PATTERN, NAMESPACE_PATTERN
from postroad.manifests.mistakes import explain
from postroad.manifests.objects import (
    GROUP,
    HOSTS_ANNOTATION,
    SECRET_LABEL,
    SECRET_USE,
    VERSION,
    Declared,
    Kind,
    LoginSecret,
    Path,
    Problem,
    Reference,
)
from postroad.policy.model import ObjectKey

SPECS: Mapping[Kind, type[Part]] = {
    Kind.DOMAIN: DomainSpec,
    Kind.RELAY: RelaySpec,
    Kind.QUOTA: QuotaSpec,
    Kind.CLIENT: ClientSpec,
    Kind.DOMAIN_GRANT: DomainGrantSpec,
}
LATER_KINDS = frozenset({"Policy", "Shaping"})
DEFAULT_NAMESPACE = "default"

# The metadata fields of Kubernetes; any other field there is a mistake.
_METADATA = frozenset(
    {"name", "namespace", "labels", "annotations", "generation", "creationTimestamp", "uid"}
    | {"resourceVersion", "managedFields", "ownerReferences", "finalizers", "selfLink"}
    | {"deletionTimestamp", "deletionGracePeriodSeconds"}
)
_TOP = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})


@dataclass(frozen=True, slots=True)
class SecretObject:
    """A Secret with its name."""

    key: ObjectKey
    secret: LoginSecret


@dataclass(frozen=True, slots=True)
class NamespaceObject:
    """A namespace with its labels, for selectors."""

    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class InvalidManifest:
    """An object without a valid kind or name, or a value that is no object."""

    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Foreign:
    """An object of another group, which is skipped."""

    what: str


Read = Declared | SecretObject | NamespaceObject | InvalidManifest | Foreign


def read_object(raw: object) -> Read:
    """Read one object, parsed from YAML or JSON, or sent by the Kubernetes API."""
    if not isinstance(raw, Mapping):
        return _refuse(
            (), f"must be a mapping with apiVersion, kind and metadata, not {shown(raw)}"
        )
    version, kind = raw.get("apiVersion"), raw.get("kind")
    for name, value in (("apiVersion", version), ("kind", kind)):
        if not isinstance(value, str) or not value:
            return _refuse((name,), "is required, as in every Kubernetes object")
    if version == "v1" and kind in ("Secret", "Namespace"):
        return _read_core(raw, str(kind))
    group = str(version).partition("/")[0]
    if group != GROUP:
        alike = "postroad" in group or difflib.get_close_matches(group, [GROUP], cutoff=0.8)
        if not alike and (kind not in set(Kind) or "/" in str(version)):
            return _foreign(str(version), str(kind))
    if version != f"{GROUP}/{VERSION}":
        return _refuse(("apiVersion",), f"{shown(version)} is unknown; use {GROUP}/{VERSION}")
    if kind in LATER_KINDS:
        return _refuse(("kind",), f"{kind} is not supported yet; remove the object")
    if kind in ("Secret", "Namespace"):
        return _refuse(("apiVersion",), f"that of a {kind} is v1, not {shown(version)}")
    if kind not in set(Kind):
        near = _near(str(kind), list(Kind), cutoff=0.6)
        advice = f"did you mean {near}?" if near else f"known are {', '.join(sorted(Kind))}"
        return _refuse(("kind",), f"{shown(kind)} is not a kind of {GROUP}; {advice}")
    return _read_declared(raw, Kind(str(kind)))


def _foreign(version: str, kind: str) -> Foreign | InvalidManifest:
    """Return a foreign object; a kind like Secret or Namespace is refused as misspelt."""
    near = _near(kind, ["Secret", "Namespace"], cutoff=0.9) if version == "v1" else None
    if near is not None:
        return _refuse(("kind",), f"{shown(kind)} is not a kind of v1; did you mean {near}?")
    return Foreign(f"{kind} of {version}")


def _near(kind: str, known: Sequence[str], *, cutoff: float) -> str | None:
    """Return the known kind that is most similar, regardless of case."""
    by_letters = {each.casefold(): str(each) for each in known}
    near = difflib.get_close_matches(kind.casefold(), by_letters, n=1, cutoff=cutoff)
    return by_letters[near[0]] if near else None


def _refuse(path: Path, reason: str) -> InvalidManifest:
    return InvalidManifest((Problem(path, reason),))


def _read_declared(raw: Mapping[str, Any], kind: Kind) -> Read:
    problems = [
        Problem((name,), f"is not a field of {kind}; the fields of an object belong under spec")
        for name in raw
        if name not in _TOP
    ]
    spec, given = None, _without_nulls(raw.get("spec") or {})
    try:
        spec = SPECS[kind].model_validate(given)
    except ValidationError as error:
        problems += explain(kind, SPECS[kind], error, given)
    key = _read_key(raw)
    if isinstance(key, InvalidManifest):
        return InvalidManifest((*key.problems, *problems))
    metadata = raw["metadata"]
    problems += _unknown_metadata(metadata)
    return Declared(
        Reference(kind, key),
        None if problems else spec,
        tuple(problems),
        generation=_generation(metadata),
        created=_created(metadata),
    )


def _read_key(raw: Mapping[str, Any], *, namespaced: bool = True) -> ObjectKey | InvalidManifest:
    metadata = raw.get("metadata")
    if not isinstance(metadata, Mapping):
        return _refuse(("metadata",), "is required: metadata: {name: ...}")
    name = metadata.get("name")
    if name is None:
        return _refuse(("metadata", "name"), "is required")
    if not isinstance(name, str) or len(name) > 253 or not re.fullmatch(NAME_PATTERN, name):
        return _refuse(
            ("metadata", "name"),
            f"{shown(name)} is not a name; use lower-case letters, digits, - and .",
        )
    namespace = metadata.get("namespace") or DEFAULT_NAMESPACE
    if not isinstance(namespace, str) or not re.fullmatch(NAMESPACE_PATTERN, namespace):
        return _refuse(
            ("metadata", "namespace"),
            f"{shown(namespace)} is not a namespace; use lower-case letters, digits and -",
        )
    return ObjectKey(namespace if namespaced else "", name)


def _unknown_metadata(metadata: Mapping[str, Any]) -> list[Problem]:
    return [
        Problem(("metadata", name), "is not a field of metadata")
        for name in metadata
        if name not in _METADATA
    ]


def _generation(metadata: Mapping[str, Any]) -> int:
    generation = metadata.get("generation")
    return generation if isinstance(generation, int) else 0


def _created(metadata: Mapping[str, Any]) -> datetime | None:
    text = metadata.get("creationTimestamp")
    try:
        created = datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None
    return created.replace(tzinfo=UTC) if created and created.tzinfo is None else created


def _without_nulls(value: Any) -> Any:
    """Drop fields that are null, which Kubernetes treats as absent."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value


def _read_core(
    raw: Mapping[str, Any], kind: str
) -> SecretObject | NamespaceObject | InvalidManifest:
    key = _read_key(raw, namespaced=kind == "Secret")
    if isinstance(key, InvalidManifest):
        return key
    if kind == "Namespace":
        labels = raw["metadata"].get("labels") or {}
        if not _is_text_map(labels):
            return _refuse(("metadata", "labels"), "must be a mapping of texts")
        return NamespaceObject(key.name, dict(labels))
    return _read_secret(raw, key)


def _read_secret(raw: Mapping[str, Any], key: ObjectKey) -> SecretObject | InvalidManifest:
    data: dict[str, bytes] = {}
    problems: list[Problem] = []
    for part in ("data", "stringData"):
        values = raw.get(part) or {}
        if not isinstance(values, Mapping):
            problems.append(Problem((part,), "must be a mapping"))
            continue
        for name, value in values.items():
            # The value itself is never quoted: it is a secret.
            if not isinstance(value, str):
                problems.append(Problem((part, str(name)), "must be a text; put it in quotes"))
            elif part == "stringData":
                data[str(name)] = value.encode("utf-8", "surrogatepass")
            else:
                try:
                    data[str(name)] = base64.b64decode("".join(value.split()), validate=True)
                except (binascii.Error, ValueError):
                    reason = "is not base64; plain text goes under stringData"
                    problems.append(Problem((part, str(name)), reason))
    texts = {}
    for name in ("labels", "annotations"):
        texts[name] = raw["metadata"].get(name) or {}
        if not _is_text_map(texts[name]):
            problems.append(Problem(("metadata", name), "must be a mapping of texts"))
    if problems:
        return InvalidManifest(tuple(problems))
    opted_in = texts["labels"].get(SECRET_LABEL) == SECRET_USE
    return SecretObject(key, LoginSecret(data, opted_in, _hosts(texts["annotations"])))


def _hosts(annotations: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the host patterns in the annotation, between commas or blanks; None without it."""
    text = annotations.get(HOSTS_ANNOTATION)
    return None if text is None else tuple(text.casefold().replace(",", " ").split())


def _is_text_map(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(each, str) for pair in value.items() for each in pair
    )
