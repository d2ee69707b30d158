"""
Back-off: how long a loop pauses before it tries again what has failed.

One rule for all: the pause doubles with each failure in a row up to a longest one, and what is
waited is drawn from its upper half. Without the draw all who lost the same server would come back
to it in the same moments; were the draw from all of it, a try might follow at once. Who succeeds
begins anew.

Loops that look every second or so, whatever they found, have no back-off, nor have those that must
not come late by it. When mail is tried again is for its RetrySchedule to say.
"""

from datetime import timedelta
from typing import Protocol

from postroad.mail.valueclass import valueclass


class Chance(Protocol):
    """What draws: `random`, or a generator of one's own."""

    def uniform(self, a: float, b: float) -> float:
        """Draw a number between two."""


@valueclass(frozen=True, slots=True)
class Backoff:
    """Pauses from `first`, doubled after each failure, up to `longest`."""

    first: timedelta
    longest: timedelta

    def seconds(self, failures: int, chance: Chance) -> float:
        """Draw the pause after so many failures in a row, the first of which is 1."""
        doubled = self.first.total_seconds() * 2.0 ** min(failures - 1, 60)
        return min(doubled, self.longest.total_seconds()) * chance.uniform(0.5, 1.0)
