"""
The room for mail whose destination has to be looked up. No I/O; the clock is an argument.

A question that the DNS does not answer keeps its message for ten seconds. So mail that has to ask
has a part of the places, and mail that need not goes past it. Who finds no place there, or comes
while the DNS is known to be away, comes back later, so many in a second.
"""

from dataclasses import dataclass

_SOON, _LONGEST = 5.0, 900.0  # seconds
_RATE = 50.0  # records a second that come back


@dataclass(slots=True)
class Lookups:
    """The places of records that wait for the DNS: `most` of them."""

    most: int
    taken: int = 0
    _next: float = 0.0  # when the one that was put off last comes back

    @property
    def has_place(self) -> bool:
        """Whether another record may wait for the DNS."""
        return self.taken < self.most

    def wait(self, now: float) -> float:
        """Return for how many seconds a record is put off."""
        self._next = max(now + _SOON, min(self._next + 1 / _RATE, now + _LONGEST))
        return self._next - now
