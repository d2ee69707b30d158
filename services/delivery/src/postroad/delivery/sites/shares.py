"""
Shares the places of a process among its sites. No I/O.

The places are limited, and a message for a silent host keeps its place for minutes. So all sites
that do not move together get a part of the places, in even shares, and the rest is for sites that
move.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from postroad.delivery.sites.concurrency import INITIAL

_LEAST_SHARE = 15  # a site that does not move needs no more than a fifteenth of all places


@dataclass(slots=True)
class Shares:
    """
    The `most` places of a process; a record takes one or several (`spool.room`).

    `held` is the number of places that will not be free soon, `sites` the number of sites with such
    places.
    """

    most: int
    held: int = 0
    sites: int = 0

    def recount(self, held: Iterable[int]) -> None:
        """Set the counts from the places of each site that will not be free soon."""
        counts = [count for count in held if count]
        self.held, self.sites = sum(counts), len(counts)

    def comes(self, places: int, *, first: bool) -> None:
        """Note that a site takes so many more of them; `first` says that it had none."""
        self.held += places
        self.sites += first

    @property
    def least(self) -> int:
        """How many places a site may hold at most before it moves."""
        return max(1, self.most // _LEAST_SHARE)

    @property
    def fair(self) -> int:
        """How many places a site may hold that does not move."""
        return min(self.least, self._for_slow // (self.sites + 1))

    @property
    def _for_slow(self) -> int:
        # A lane gets half of all places, so slow sites leave some even within one lane.
        return max(1, self.most // 3)

    @property
    def is_scarce(self) -> bool:
        """Whether there are so many slow sites that each has fewer places than connections."""
        return self.fair < min(INITIAL, self.least)

    def allowance(self, held: int, *, young: bool) -> int:
        """Return how many places a site that does not move, and holds `held` now, may hold."""
        if young:
            # Two thirds of what is left: the first such site gets half of all places.
            found = self.most * 3 // 4 - (self.held - held)
            first = not held and self.held < self.most * 7 // 8
            return max(int(first), min(self.most // 2, found * 2 // 3))
        # Some places are reserved for sites that have none.
        first = not held and self.held < max(2, self.most * 5 // 12)
        grown = self.fair if self.held < self._for_slow else min(held, self.fair)
        return max(int(first), grown)
