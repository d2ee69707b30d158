"""
Whose turn it is: things looked at again and again, spread over time, new ones first.

One background task asks a Round what is due, instead of a timer for each object: thousands of
objects cost a dictionary, and a burst of new ones becomes a steady trickle.
"""

from collections.abc import Callable, Collection, Hashable
from datetime import timedelta
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_JITTER = 0.2  # of the period, to both sides


class PeriodicQueue(Generic[K]):
    """When each thing is due; times are those of the caller's clock, in seconds."""

    def __init__(self, every: timedelta, chance: Callable[[], float]) -> None:
        self._every = every.total_seconds()
        self._chance = chance
        self._next: dict[K, float] = {}

    @property
    def known(self) -> Collection[K]:
        """What took part at the last look."""
        return self._next.keys()

    def due(self, present: Collection[K], now: float, *, most: int) -> list[K]:
        """Return at most `most` that are due, longest waiting first, and plan their next turn."""
        for gone in [key for key in self._next if key not in present]:
            del self._next[gone]
        for key in present:
            self._next.setdefault(key, now)
        waiting = [(when, number) for number, when in enumerate(self._next.values()) if when <= now]
        waiting.sort()
        keys = list(self._next)
        chosen = [keys[number] for _, number in waiting[:most]]
        for key in chosen:
            self._next[key] = now + self._every * (1 + _JITTER * (2 * self._chance() - 1))
        return chosen

    def forget(self, key: K) -> None:
        """Take a thing for new."""
        self._next.pop(key, None)
