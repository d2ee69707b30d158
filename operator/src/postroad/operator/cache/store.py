"""
The objects that the cluster declares, as this operator knows them, from lists and watch events.

Full lists come from the API at the start, and every few minutes to mend what a watch has missed;
watch events come in between. Either may be late. So an older version never replaces a newer one. An
object that a list lacks is removed only if no event has told of it since the list began. An object
that was deleted meanwhile does not come back with a page of the list that was read before.

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
        """Return all of it, to be compiled; safe to hand to a thread."""
        return Objects(
            declared=tuple(known.declared for known in self.objects.values()),
            secrets=self.secrets.found,
            namespaces=dict(self.namespaces.labels),
            complete=self.complete,
        )

    @property
    def now(self) -> int:
        """How many events there have been: what is asked for now is older than any later event."""
        return self._events.count

    def event(self, kind: Kind, raw: Mapping[str, Any], *, deleted: bool) -> bool:
        """Take what a watch told of an object."""
        self._events.count += 1
        known = self._read(kind, raw)
        if known is None:
            return False
        before = self.objects.get(known.reference)
        if before is not None and is_older(known.version, before.version):
            # Also of an object that had the name before: kopf keeps the order of one object alone.
            return False
        self._touched[known.reference] = self.now
        if deleted:
            if before is None or before.uid != known.uid:
                return False
            self._remove(known.reference)
            return True
        return self._put(known)

    def begin_listing(self, kind: Kind) -> ListSnapshot:
        """Begin to read a list."""
        return ListSnapshot(kind, self.now)

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
        """Whether an object admits namespaces by their labels."""
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
