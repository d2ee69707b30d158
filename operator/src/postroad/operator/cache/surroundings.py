"""
What the declared objects refer to: Secrets with logins, and Namespaces with their labels.

Only Secrets that a declared object names are kept, and only their username and password if their
owner has opted in. So an event about a Secret is dropped if it comes before the object that names
the Secret. The watch follows only Secrets with the label, and tells one that has lost its label as
deleted. Before compiling, the publisher therefore fetches the Secrets that `Secrets.missing`
returns: those that are new, and those that may be gone.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from postroad.manifests.objects import LoginSecret
from postroad.manifests.reader import SecretObject, read_object
from postroad.operator.cache.events import EventCounter, LatestEvents
from postroad.policy.model import ObjectKey

_LOGIN_KEYS = ("username", "password")
_METADATA = ("name", "namespace", "labels", "annotations")


class Secrets:
    """
    The Secrets that declared objects name.

    Methods return whether something to compile has changed. `named` returns the Secrets that
    objects name now; it is called again after `names_changed`.
    """

    def __init__(self, counter: EventCounter, named: Callable[[], Iterable[ObjectKey]]) -> None:
        self._named = named
        self._names: frozenset[ObjectKey] | None = frozenset()
        self._logins: dict[ObjectKey, LoginSecret | None] = {}  # None: not there
        self._latest: LatestEvents[ObjectKey] = LatestEvents(counter)

    def names_changed(self) -> None:
        """Note that objects may name other Secrets now."""
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
    def found(self) -> dict[ObjectKey, LoginSecret]:
        """Each Secret that exists."""
        return {key: login for key, login in self._logins.items() if login is not None}

    def missing(self) -> list[ObjectKey]:
        """Return the Secrets that objects name and that have to be read."""
        return sorted(key for key in self.names if key not in self._logins)

    def event(self, key: ObjectKey, raw: Mapping[str, Any], *, deleted: bool) -> bool:
        """Apply a watch event about a Secret."""
        if key not in self.names or not self._latest.is_new(key, raw):
            return False
        if deleted:
            return self._logins.pop(key, None) is not None
        return self._set(key, raw)

    def read(self, key: ObjectKey, raw: Mapping[str, Any] | None, *, asked: int) -> bool:
        """Apply a Secret as read when the counter was at `asked`; None if there was none."""
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
        """Apply a watch event about a namespace."""
        name = _name_of(raw)
        if not self._latest.is_new(name, raw):
            return False
        return self._set(name, None if deleted else _labels(raw))

    def listed(self, found: Iterable[Mapping[str, Any]], *, asked: int) -> bool:
        """Apply a list of all namespaces, as read when the counter was at `asked`."""
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


def _login(raw: Mapping[str, Any]) -> LoginSecret:
    metadata = raw.get("metadata") or {}
    data = {n: v for n, v in (raw.get("data") or {}).items() if n in _LOGIN_KEYS}
    read = read_object(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {name: metadata.get(name) for name in _METADATA},
            "data": data,
        }
    )
    if not isinstance(read, SecretObject):
        return LoginSecret({})
    # Nobody needs the values of one that may not be used.
    return read.secret if read.secret.opted_in else LoginSecret({})
