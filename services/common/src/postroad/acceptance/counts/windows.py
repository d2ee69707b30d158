"""
Counts of what strangers do, by name, in windows of ten minutes. No I/O.

Windows are aligned to the Unix epoch, like those of quotas, so all processes of a cluster use the
same ones. Memory is bounded; the cluster still counts what is dropped here (`shared`).
"""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from postroad.policy.limits.quota import SLACK

WINDOW = timedelta(minutes=10)

_SECONDS = int(WINDOW.total_seconds())


class SharedCount(NamedTuple):
    """
    One count that all processes share: its key and its maximum.

    What was stored before `since` does not count; after `expires` it may be forgotten.
    """

    key: str
    maximum: int
    since: datetime
    expires: datetime

    @classmethod
    def of(cls, kind: str, value: str, maximum: int, now: datetime) -> "SharedCount":
        """Return a count of this window; `value` is part of a subject."""
        number = _number(now)
        begin = datetime.fromtimestamp(number * _SECONDS, UTC)
        # No namespace begins with `_`, so no Quota has such a key.
        key = f"_{kind}.{_SECONDS}.{number}.{value}"
        return cls(key, maximum, begin - SLACK, begin + WINDOW + SLACK)


@dataclass(slots=True)
class _Count:
    window: int
    number: int = 0


class WindowCounts:
    """The counts of one process. `now` must not go back by a whole window."""

    def __init__(self, most_names: int) -> None:
        self._most_names = most_names
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def of(self, name: str, now: datetime) -> int:
        """Return the count of a name in this window."""
        count = self._counts.get(name)
        return count.number if count is not None and count.window == _number(now) else 0

    def add(self, name: str, now: datetime) -> int:
        """Count one more, and return the new count."""
        count = self._count(name, now)
        count.number += 1
        return count.number

    def set(self, name: str, number: int, now: datetime) -> None:
        """Set the count of a name in this window."""
        self._count(name, now).number = number

    def _count(self, name: str, now: datetime) -> _Count:
        count = self._counts.get(name)
        if count is None or count.window != _number(now):
            count = self._counts[name] = _Count(_number(now))
            if len(self._counts) > self._most_names:
                self._counts.popitem(last=False)
        self._counts.move_to_end(name)
        return count


def _number(now: datetime) -> int:
    return int(now.timestamp()) // _SECONDS
