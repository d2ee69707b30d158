"""
The room for mail whose destination has to be looked up. No I/O; the clock is an argument.

A question that the DNS does not answer keeps its message for ten seconds. So mail that has to ask
has a part of the places, and mail that need not goes past it. Names that were not answered of late
have some of those, so that they do not keep out names that nobody has asked for yet. Who finds no
place, or comes while the DNS is known to be away, comes back later, so many in a second.
"""

from dataclasses import dataclass

_SOON, _LONGEST = 5.0, 900.0  # seconds
_RATE = 50.0  # records a second that come back
_SLOW = 3  # the part of the places that names may have which were not answered of late


@dataclass(slots=True)
class Lookups:
    """The places of records that wait for the DNS: `most` of them."""

    most: int
    _taken: int = 0
    _slow: int = 0  # of those that are taken
    _next: float = 0.0  # when the one that was put off last comes back

    def enter(self, *, slow: bool) -> bool:
        """Let a record wait for the DNS, if there is a place; `slow`: not answered of late."""
        if self._taken >= self.most or (slow and self._slow >= max(1, self.most // _SLOW)):
            return False
        self._taken += 1
        self._slow += slow
        return True

    def leave(self, *, slow: bool) -> None:
        """Give back the place that `enter` gave."""
        self._taken -= 1
        self._slow -= slow

    def wait(self, now: float) -> float:
        """Return for how many seconds a record is put off."""
        self._next = max(now + _SOON, min(self._next + 1 / _RATE, now + _LONGEST))
        return self._next - now
