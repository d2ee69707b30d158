"""
Decides which objects a probe checks next: each once a period, spread over time, new ones first.

One background task asks a `PeriodicQueue` what is due, instead of one timer for each object. So
thousands of objects cost only a dictionary, and many new ones at once are still checked one after
the other.
"""

from collections.abc import Callable, Collection, Hashable
from datetime import timedelta
from itertools import islice
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_JITTER = 0.2  # of the period, to both sides


class PeriodicQueue(Generic[K]):
    """When each object is due; times are in seconds of the caller's clock."""

    def __init__(self, every: timedelta, chance: Callable[[], float]) -> None:
        self._every = every.total_seconds()
        self._chance = chance
        self._next: dict[K, float] = {}

    @property
    def known(self) -> Collection[K]:
        """The objects at the last call of `due`."""
        return self._next.keys()

    def due(
        self,
        present: Collection[K],
        now: float,
        *,
        most: int,
        admits: Callable[[K], bool] = lambda _: True,
    ) -> list[K]:
        """
        Return at most `most` objects that are due, the longest due first; plan the next time.

        Those that `admits` refuses stay due. It is asked about each one in turn, until there are
        `most`: what it admits is returned.
        """
        for gone in [key for key in self._next if key not in present]:
            del self._next[gone]
        for key in present:
            self._next.setdefault(key, now)
        waiting = [(when, number) for number, when in enumerate(self._next.values()) if when <= now]
        waiting.sort()
        keys = list(self._next)
        admitted = (key for _, number in waiting if admits(key := keys[number]))
        chosen = list(islice(admitted, most))
        for key in chosen:
            self._next[key] = now + self._every * (1 + _JITTER * (2 * self._chance() - 1))
        return chosen

    def forget(self, key: K) -> None:
        """Treat an object as new from now on."""
        self._next.pop(key, None)
