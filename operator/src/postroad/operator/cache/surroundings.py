"""
What the declared objects refer to: Secrets with logins, and Namespaces with their labels.

Of the Secrets only those that a declared object names are kept, and of those only the username and
password. A Secret that came before the object that names it is not there, then; whoever compiles
asks `Secrets.missing` and fetches those by name.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from postroad.manifests.reader import SecretObject, read_object
from postroad.operator.cache.events import EventCounter, LatestEvents
from postroad.policy.model import ObjectKey

_LOGIN_KEYS = ("username", "password")


class Secrets:
    """
    The Secrets that declared objects name.

    Methods return whether what is to be compiled has changed. `named` returns the names that the
    objects hold now; it is asked anew after `names_changed`.
    """

    def __init__(self, counter: EventCounter, named: Callable[[], Iterable[ObjectKey]]) -> None:
        self._named = named
        self._names: frozenset[ObjectKey] | None = frozenset()
        self._logins: dict[ObjectKey, Mapping[str, bytes] | None] = {}  # None: not there
        self._latest: LatestEvents[ObjectKey] = LatestEvents(counter)

    def names_changed(self) -> None:
        """Take that other Secrets may be named now."""
        self._names = None

    @property
    def names(self) -> frozenset[ObjectKey]:
        """The Secrets that declared objects name; all others are forgotten."""
        if self._names is None:
            self._names = frozenset(self._named())
            self._logins = {k: login for k, login in self._logins.items() if k in self._names}
            self._latest.keep_only(self._names)
        return self._names

    @property
    def found(self) -> dict[ObjectKey, Mapping[str, bytes]]:
        """What is in each Secret that is there."""
        return {key: login for key, login in self._logins.items() if login is not None}

    def missing(self) -> list[ObjectKey]:
        """Return the Secrets that are named and were not looked for yet."""
        return sorted(key for key in self.names if key not in self._logins)

    def event(self, key: ObjectKey, raw: Mapping[str, Any], *, deleted: bool) -> bool:
        """Take what a watch told of a Secret."""
        if key not in self.names or not self._latest.is_new(key, raw):
            return False
        return self._set(key, None if deleted else raw)

    def read(self, key: ObjectKey, raw: Mapping[str, Any] | None, *, asked: int) -> bool:
        """Take a Secret as it was when the counter was at `asked`; None when there was none."""
        if key not in self.names or self._latest.has_since(key, asked):
            return False
        return self._set(key, raw)

    def _set(self, key: ObjectKey, raw: Mapping[str, Any] | None) -> bool:
        login = _login(raw) if raw is not None else None
        same = key in self._logins and self._logins[key] == login
        self._logins[key] = login
        return not same


class Namespaces:
    """The labels of every namespace. Methods return whether they have changed."""

    def __init__(self, counter: EventCounter) -> None:
        self.labels: dict[str, dict[str, str]] = {}
        self._latest: LatestEvents[str] = LatestEvents(counter)

    def event(self, raw: Mapping[str, Any], *, deleted: bool) -> bool:
        """Take what a watch told of a namespace."""
        name = _name_of(raw)
        if not self._latest.is_new(name, raw):
            return False
        return self._set(name, None if deleted else _labels(raw))

    def listed(self, found: Iterable[Mapping[str, Any]], *, asked: int) -> bool:
        """Take all namespaces, as they were when the counter was at `asked`."""
        labels = {_name_of(raw): _labels(raw) for raw in found}
        changed = False
        for name in {*self.labels, *labels}:
            if not self._latest.has_since(name, asked):
                changed |= self._set(name, labels.get(name))
        self._latest.keep_only(self.labels)
        return changed

    def _set(self, name: str, labels: dict[str, str] | None) -> bool:
        before = self.labels.get(name)
        if labels is None:
            self.labels.pop(name, None)
        else:
            self.labels[name] = labels
        return before != self.labels.get(name)


def _name_of(raw: Mapping[str, Any]) -> str:
    return str((raw.get("metadata") or {}).get("name", ""))


def _labels(raw: Mapping[str, Any]) -> dict[str, str]:
    labels = (raw.get("metadata") or {}).get("labels") or {}
    return {str(name): str(value) for name, value in labels.items()}


def _login(raw: Mapping[str, Any]) -> Mapping[str, bytes]:
    metadata = raw.get("metadata") or {}
    data = {n: v for n, v in (raw.get("data") or {}).items() if n in _LOGIN_KEYS}
    read = read_object(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {name: metadata.get(name) for name in ("name", "namespace")},
            "data": data,
        }
    )
    return read.data if isinstance(read, SecretObject) else {}
