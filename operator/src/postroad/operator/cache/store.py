"""
The objects that the cluster declares, as this operator knows them, from lists and watch events.

Full lists come at the start, and every few minutes to correct what a watch has missed. Watch events
come in between. Either may be late. So an older version never replaces a newer one. An object that
is missing in a list is removed only if there was no event about it since the list began. An object
that was deleted meanwhile does not come back with an earlier page of the list.

Until every kind has been listed once, `complete` is False and nothing may be removed anywhere.
`surroundings` holds the Secrets and Namespaces that the objects refer to.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from postroad.manifests.kinds.client import ClientSpec
from postroad.manifests.kinds.domain import DomainSpec
from postroad.manifests.kinds.relay import RelaySpec
from postroad.manifests.objects import GROUP, VERSION, Declared, Kind, Objects, Reference
from postroad.manifests.reader import read_object
from postroad.operator.cache.events import EventCounter, is_older
from postroad.operator.cache.surroundings import Namespaces, Secrets
from postroad.policy.model import ObjectKey

_METADATA = ("name", "namespace", "generation", "creationTimestamp")


@dataclass(frozen=True, slots=True)
class CachedObject:
    """The latest known version of one Domain, Relay, Client or Quota."""

    uid: str
    version: str
    declared: Declared
    status: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reference(self) -> Reference:
        """Its kind, namespace and name."""
        return self.declared.reference


@dataclass(slots=True)
class ListSnapshot:
    """A list that is being read: its objects so far, and the number of events when it began."""

    kind: Kind
    began: int
    found: dict[ObjectKey, CachedObject] = field(default_factory=dict)


class Store:
    """All declared objects. Methods return whether something to compile has changed."""

    def __init__(self) -> None:
        self.objects: dict[Reference, CachedObject] = {}
        self._events = EventCounter()
        self.namespaces = Namespaces(self._events)
        self.secrets = Secrets(self._events, self._named_secrets)
        self._touched: dict[Reference, int] = {}  # the number of the last event about an object
        self._listed: set[str] = set()

    @property
    def complete(self) -> bool:
        """Whether every kind, and the namespaces, have been listed in this run."""
        return self._listed >= {*Kind, "Namespace"}

    def snapshot(self) -> Objects:
        """Return all objects for the compiler; the result may be used in another thread."""
        return Objects(
            declared=tuple(known.declared for known in self.objects.values()),
            secrets=self.secrets.found,
            namespaces=dict(self.namespaces.labels),
            complete=self.complete,
            opt_in=True,
        )

    @property
    def now(self) -> int:
        """The number of events so far: a request made now is older than any later event."""
        return self._events.count

    def event(self, kind: Kind, raw: Mapping[str, Any], *, deleted: bool) -> bool:
        """Apply a watch event about an object."""
        self._events.count += 1
        known = self._read(kind, raw)
        if known is None:
            return False
        before = self.objects.get(known.reference)
        if before is not None and is_older(known.version, before.version):
            # Or from an earlier object with this name: kopf keeps the order only for one object.
            return False
        self._touched[known.reference] = self.now
        if deleted:
            if before is None or before.uid != known.uid:
                return False
            self._remove(known.reference)
            return True
        return self._put(known)

    def begin_listing(self, kind: Kind) -> ListSnapshot:
        """Begin to read a list of one kind."""
        return ListSnapshot(kind, self.now)

    def add(self, listing: ListSnapshot, raw: Mapping[str, Any]) -> None:
        """Add one object to a list that is being read."""
        known = self._read(listing.kind, raw)
        if known is not None:
            listing.found[known.reference.key] = known

    def end_listing(self, listing: ListSnapshot, namespaces: Iterable[str] = ()) -> bool:
        """Apply a complete list; `namespaces` are those it covers, empty for all."""
        changed = False
        for known in listing.found.values():
            before = self.objects.get(known.reference)
            if before is not None and is_older(known.version, before.version):
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
        """Note that a kind was listed completely; return True if now all kinds are."""
        before = self.complete
        self._listed.add(kind)
        self._touched = {ref: at for ref, at in self._touched.items() if ref in self.objects}
        return self.complete and not before

    def wrote(self, reference: Reference, raw: Mapping[str, Any]) -> None:
        """Apply the API server's answer to a write of a status."""
        before = self.objects.get(reference)
        metadata = raw.get("metadata") or {}
        if before is None or before.uid != metadata.get("uid"):
            return
        version = str(metadata.get("resourceVersion", ""))
        if metadata.get("generation") != before.declared.generation or not version:
            return  # the watch will bring the whole object
        after = replace(before, version=version, status=raw.get("status") or {})
        if not is_older(version, before.version):
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
            # The generation counts changes of the spec: the parsed spec is still valid.
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
        self.secrets.names_changed()
        return True

    def _remove(self, reference: Reference) -> None:
        del self.objects[reference]
        self.secrets.names_changed()

    def _named_secrets(self) -> Iterator[ObjectKey]:
        named = (_secret_of(known.declared) for known in self.objects.values())
        return (key for key in named if key is not None)

    @property
    def selects(self) -> bool:
        """Whether any object admits namespaces by their labels."""
        specs = (known.declared.spec for known in self.objects.values())
        return any(
            spec.allowed_namespaces.selector is not None
            for spec in specs
            if isinstance(spec, RelaySpec | DomainSpec)
        )


def _secret_of(declared: Declared) -> ObjectKey | None:
    spec, name = declared.spec, None
    if isinstance(spec, RelaySpec):
        name = spec.login
    elif isinstance(spec, ClientSpec) and spec.auth is not None:
        name = spec.auth.secret_ref.name
    return ObjectKey(declared.reference.key.namespace, name) if name else None
