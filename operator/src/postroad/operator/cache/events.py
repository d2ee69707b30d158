"""
The order of the API server's answers: versions of one object, and events as against lists.

Watch events and lists (or single reads) come over different requests, and either may be late. So
the operator numbers the events. A list that was requested before an event came is older than the
event.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)


@dataclass(slots=True)
class EventCounter:
    """How many watch events there have been, of all kinds."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class _Event:
    version: str
    number: int


class LatestEvents(Generic[_K]):
    """The latest event about each object of one kind."""

    def __init__(self, counter: EventCounter) -> None:
        self._counter = counter
        self._latest: dict[_K, _Event] = {}

    def is_new(self, key: _K, raw: Mapping[str, Any]) -> bool:
        """Note an event; return False if a newer one about the same object has come before."""
        version = str((raw.get("metadata") or {}).get("resourceVersion", ""))
        if key in self._latest and is_older(version, self._latest[key].version):
            return False
        self._counter.count += 1
        self._latest[key] = _Event(version, self._counter.count)
        return True

    def has_since(self, key: _K, asked: int) -> bool:
        """Whether an event about an object has come since the counter was at `asked`."""
        return key in self._latest and self._latest[key].number > asked

    def keep_only(self, keys: Iterable[_K]) -> None:
        """Forget the events about all other objects."""
        known = frozenset(keys)
        self._latest = {key: event for key, event in self._latest.items() if key in known}


def is_older(one: str, other: str) -> bool:
    """Whether one version is older than another of the same kind."""
    try:
        return int(one) < int(other)
    except ValueError:
        return False  # versions need not be numbers; then the latest answer counts
