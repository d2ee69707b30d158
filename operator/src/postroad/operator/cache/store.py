"""
What the cluster declares, as this operator knows it: from lists and watch events to values.

Two sources fill it: full lists by the API (at the start, and every some minutes to mend what a
watch has missed), and watch events in between. They may overtake each other, so an older version
never replaces a newer one, what a list lacks is removed only if no event told of it since the list
began, and what was deleted meanwhile does not come back with a page that was read before.

Until every kind has been listed once, `complete` is False and nothing may be removed anywhere.

Secrets: only those that a declared object names are kept, and of those only the username and
password. One that came before the object that names it is not there then; whoever compiles asks
`missing_secrets` and fetches those by name.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from postroad.manifests.kinds.client import ClientSpec
from postroad.manifests.kinds.domain import DomainSpec
from postroad.manifests.kinds.relay import RelaySpec
from postroad.manifests.objects import GROUP, VERSION, Declared, Kind, Objects, Reference
from postroad.manifests.reader import SecretObject, read_object
from postroad.policy.model import ObjectKey

_K = TypeVar("_K", bound=Hashable)

SECRET_KEYS = ("username", "password")
_METADATA = ("name", "namespace", "generation", "creationTimestamp")


@dataclass(frozen=True, slots=True)
class CachedObject:
    """One object of ours as the API server last told of it."""

    uid: str
    version: str
    declared: Declared
    status: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reference(self) -> Reference:
        """What names it."""
        return self.declared.reference


@dataclass(slots=True)
class ListSnapshot:
    """A list being read: what it holds so far, and how many events had been seen when it began."""

    kind: Kind
    began: int
    found: dict[ObjectKey, CachedObject] = field(default_factory=dict)


class Store:
    """All that is declared. Methods return whether what is to be compiled has changed."""

    def __init__(self) -> None:
        self.objects: dict[Reference, CachedObject] = {}
        self.namespaces: dict[str, dict[str, str]] = {}
        self._told_namespaces: dict[str, _Told] = {}
        self._told_secrets: dict[ObjectKey, _Told] = {}
        self._secrets: dict[ObjectKey, Mapping[str, bytes] | None] = {}  # None: not there
        self._secret_names: frozenset[ObjectKey] | None = frozenset()
        self._touched: dict[Reference, int] = {}  # the event that last told of an object
        self._events = 0  # of all kinds
        self._listed: set[str] = set()

    @property
    def complete(self) -> bool:
        """Whether every kind, and the namespaces, have been listed in this run."""
        return self._listed >= {*Kind, "Namespace"}

    def snapshot(self) -> Objects:
        """Return all of it, to be compiled; safe to hand to a thread."""
        return Objects(
            declared=tuple(known.declared for known in self.objects.values()),
            secrets={key: data for key, data in self._secrets.items() if data is not None},
            namespaces=dict(self.namespaces),
            complete=self.complete,
        )

    # ------------------------------------------------------------ objects of ours

    def event(self, kind: Kind, raw: Mapping[str, Any], *, deleted: bool) -> bool:
        """Take what a watch told of an object."""
        self._events += 1
        known = self._read(kind, raw)
        if known is None:
            return False
        before = self.objects.get(known.reference)
        if before is not None and _older(known.version, before.version):
            # Also of an object that had the name before: kopf keeps the order of one object alone.
            return False
        self._touched[known.reference] = self._events
        if deleted:
            if before is None or before.uid != known.uid:
                return False
            self._remove(known.reference)
            return True
        return self._put(known)

    def begin_listing(self, kind: Kind) -> ListSnapshot:
        """Begin to read a list."""
        return ListSnapshot(kind, self._events)

    def add(self, listing: ListSnapshot, raw: Mapping[str, Any]) -> None:
        """Take one object of a list."""
        known = self._read(listing.kind, raw)
        if known is not None:
            listing.found[known.reference.key] = known

    def end_listing(self, listing: ListSnapshot, namespaces: Iterable[str] = ()) -> bool:
        """Take a list that was read to its end; of some namespaces, if it was of those only."""
        changed = False
        for known in listing.found.values():
            before = self.objects.get(known.reference)
            if before is not None and _older(known.version, before.version):
                continue
            newer = self._touched.get(known.reference, 0) > listing.began
            if newer and before is None:
                continue  # deleted while the list was read
            if before is not None and before.uid != known.uid and newer:
                continue
            changed |= self._put(known)
        only = frozenset(namespaces)
        for reference in list(self.objects):
            if reference.kind is not listing.kind or reference.key in listing.found:
                continue
            if only and reference.key.namespace not in only:
                continue
            if self._touched.get(reference, 0) <= listing.began:
                self._remove(reference)
                changed = True
        return changed

    def listed(self, kind: str) -> bool:
        """Tell that a kind was listed to its end, everywhere; True when that completes all."""
        before = self.complete
        self._listed.add(kind)
        self._touched = {ref: at for ref, at in self._touched.items() if ref in self.objects}
        return self.complete and not before

    def wrote(self, reference: Reference, raw: Mapping[str, Any]) -> None:
        """Take the API server's answer to a status that was written."""
        before = self.objects.get(reference)
        metadata = raw.get("metadata") or {}
        if before is None or before.uid != metadata.get("uid"):
            return
        version = str(metadata.get("resourceVersion", ""))
        if metadata.get("generation") != before.declared.generation or not version:
            return  # the watch will bring the whole object
        after = replace(before, version=version, status=raw.get("status") or {})
        if not _older(version, before.version):
            self.objects[reference] = after

    def _read(self, kind: Kind, raw: Mapping[str, Any]) -> CachedObject | None:
        metadata = raw.get("metadata") or {}
        uid, version = str(metadata.get("uid", "")), str(metadata.get("resourceVersion", ""))
        status = raw.get("status")
        status = status if isinstance(status, Mapping) else {}
        key = ObjectKey(str(metadata.get("namespace") or "default"), str(metadata.get("name")))
        before = self.objects.get(Reference(kind, key))
        if (
            before is not None
            and before.uid == uid
            and before.declared.generation == metadata.get("generation")
        ):
            # The generation counts changes of the spec: what was read of it still holds.
            return replace(before, version=version, status=status)
        read = read_object(
            {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": str(kind),
                "metadata": {name: metadata[name] for name in _METADATA if name in metadata},
                "spec": raw.get("spec"),
            }
        )
        return CachedObject(uid, version, read, status) if isinstance(read, Declared) else None

    def _put(self, known: CachedObject) -> bool:
        before = self.objects.get(known.reference)
        self.objects[known.reference] = known
        if before is not None and before.declared is known.declared:
            return False
        self._secret_names = None
        return True

    def _remove(self, reference: Reference) -> None:
        del self.objects[reference]
        self._secret_names = None

    # ------------------------------------------------------------ Secrets and Namespaces

    def secret_names(self) -> frozenset[ObjectKey]:
        """Return the Secrets that declared objects name; all others are forgotten."""
        if self._secret_names is None:
            named = (_secret_of(known.declared) for known in self.objects.values())
            self._secret_names = frozenset(key for key in named if key is not None)
            for key in [key for key in self._secrets if key not in self._secret_names]:
                del self._secrets[key]
                self._told_secrets.pop(key, None)
        return self._secret_names

    def missing_secrets(self) -> list[ObjectKey]:
        """Return the Secrets that are named and were not looked for yet."""
        return sorted(key for key in self.secret_names() if key not in self._secrets)

    @property
    def now(self) -> int:
        """How many events were seen: what was asked for at this moment is older than later ones."""
        return self._events

    def secret_event(self, key: ObjectKey, raw: Mapping[str, Any], *, deleted: bool) -> bool:
        """Take what a watch told of a Secret."""
        if key not in self.secret_names() or not self._news(self._told_secrets, key, raw):
            return False
        return self._set_secret(key, None if deleted else raw)

    def secret_found(self, key: ObjectKey, raw: Mapping[str, Any] | None, *, asked: int) -> bool:
        """Take a Secret's content as it was when it was asked for, None when there was none."""
        if key not in self.secret_names() or _told_since(self._told_secrets, key, asked):
            return False
        return self._set_secret(key, raw)

    def _set_secret(self, key: ObjectKey, raw: Mapping[str, Any] | None) -> bool:
        data = _login(raw) if raw is not None else None
        same = key in self._secrets and self._secrets[key] == data
        self._secrets[key] = data
        return not same

    def namespace_event(self, raw: Mapping[str, Any], *, deleted: bool) -> bool:
        """Take what a watch told of a namespace."""
        name = _name_of(raw)
        if not self._news(self._told_namespaces, name, raw):
            return False
        return self._set_namespace(name, None if deleted else _labels(raw))

    def namespaces_found(self, found: Iterable[Mapping[str, Any]], *, asked: int) -> bool:
        """Take all namespaces, as they were when they were asked for."""
        labels = {_name_of(raw): _labels(raw) for raw in found}
        changed = False
        for name in {*self.namespaces, *labels}:
            if not _told_since(self._told_namespaces, name, asked):
                changed |= self._set_namespace(name, labels.get(name))
        for name in [name for name in self._told_namespaces if name not in self.namespaces]:
            del self._told_namespaces[name]
        return changed

    def _set_namespace(self, name: str, labels: dict[str, str] | None) -> bool:
        before = self.namespaces.get(name)
        if labels is None:
            self.namespaces.pop(name, None)
        else:
            self.namespaces[name] = labels
        return before != self.namespaces.get(name)

    def _news(self, told: dict[_K, "_Told"], key: _K, raw: Mapping[str, Any]) -> bool:
        """Whether an event is newer than what an event told before."""
        version = str((raw.get("metadata") or {}).get("resourceVersion", ""))
        if key in told and _older(version, told[key].version):
            return False
        self._events += 1
        told[key] = _Told(version, self._events)
        return True

    @property
    def selects(self) -> bool:
        """Whether an object admits namespaces by their labels."""
        specs = (known.declared.spec for known in self.objects.values())
        return any(
            spec.allowed_namespaces.selector is not None
            for spec in specs
            if isinstance(spec, RelaySpec | DomainSpec)
        )


@dataclass(frozen=True, slots=True)
class _Told:
    """What an event last told of: the version, and which event it was."""

    version: str
    event: int


def _told_since(told: Mapping[_K, _Told], key: _K, asked: int) -> bool:
    return key in told and told[key].event > asked


def _name_of(raw: Mapping[str, Any]) -> str:
    return str((raw.get("metadata") or {}).get("name", ""))


def _labels(raw: Mapping[str, Any]) -> dict[str, str]:
    labels = (raw.get("metadata") or {}).get("labels") or {}
    return {str(name): str(value) for name, value in labels.items()}


def _login(raw: Mapping[str, Any]) -> Mapping[str, bytes]:
    metadata = raw.get("metadata") or {}
    data = {n: v for n, v in (raw.get("data") or {}).items() if n in SECRET_KEYS}
    read = read_object(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {name: metadata.get(name) for name in ("name", "namespace")},
            "data": data,
        }
    )
    return read.data if isinstance(read, SecretObject) else {}


def _secret_of(declared: Declared) -> ObjectKey | None:
    spec, name = declared.spec, None
    if isinstance(spec, RelaySpec):
        name = spec.login
    elif isinstance(spec, ClientSpec) and spec.auth is not None:
        name = spec.auth.secret_ref.name
    return ObjectKey(declared.reference.key.namespace, name) if name else None


def _older(one: str, other: str) -> bool:
    """Whether one version is older than another of the same kind."""
    try:
        return int(one) < int(other)
    except ValueError:
        return False  # versions need not be numbers: then the last word counts
