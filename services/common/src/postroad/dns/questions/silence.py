"""Remembers for a while what was unanswered. No I/O; the clock is an argument."""

from collections import OrderedDict
from collections.abc import Hashable

_LASTS = 300.0  # seconds
_MANY = 50_000


class Silence:
    """What was unanswered recently; if there is too much, the oldest is forgotten."""

    def __init__(self) -> None:
        self._until: OrderedDict[Hashable, float] = OrderedDict()

    def remember(self, what: Hashable, now: float) -> None:
        """Note that there was no answer."""
        self._until[what] = now + _LASTS
        self._until.move_to_end(what)
        while len(self._until) > _MANY:
            self._until.popitem(last=False)

    def forget(self, what: Hashable) -> None:
        """Note that there was an answer."""
        self._until.pop(what, None)

    def has(self, what: Hashable, now: float) -> bool:
        """Whether there was no answer recently."""
        return self._until.get(what, 0.0) > now
