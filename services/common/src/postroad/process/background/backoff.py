"""
Back-off: how long a loop pauses before it retries. No I/O.

All loops use one rule: the pause doubles with each failure in a row, up to a limit, and a random
part of its upper half is waited. Without the random part, all clients that lost a server would
return to it at the same moment. With a random part of the whole pause, a retry might follow at
once. After a success the count begins again.

Loops that poll every second anyway have no back-off, nor have loops that must not be late. The
retries of mail follow its RetrySchedule instead.
"""

from datetime import timedelta
from typing import Protocol

from postroad.mail.valueclass import valueclass


class Chance(Protocol):
    """A source of random numbers: `random`, or a `Random` of the caller's own."""

    def uniform(self, a: float, b: float) -> float:
        """Return a random number between two numbers."""


@valueclass(frozen=True, slots=True)
class Backoff:
    """Pauses from `first`, doubled after each failure, up to `longest`."""

    first: timedelta
    longest: timedelta

    def seconds(self, failures: int, chance: Chance) -> float:
        """Return a random pause after so many failures in a row, counted from 1."""
        doubled = self.first.total_seconds() * 2.0 ** min(failures - 1, 60)
        return min(doubled, self.longest.total_seconds()) * chance.uniform(0.5, 1.0)
