"""
How the places of a process are shared among its sites. No I/O.

What a process has in hand is bounded, and a message for a host that says nothing keeps its place
for minutes. So sites that do not move share a part of the places evenly, however many they are, and
the rest is kept for those that do.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from postroad.delivery.sites.concurrency import INITIAL

_LEAST_SHARE = 15  # no site needs more than this part of all places before it moves


@dataclass(slots=True)
class Shares:
    """
    The places of a process, `most` of them: a record takes one, or several (`spool.room`).

    `held` is how many places sites hold that will not leave them soon, `sites` how many such sites
    there are.
    """

    most: int
    held: int = 0
    sites: int = 0

    def recount(self, held: Iterable[int]) -> None:
        """Take down anew what each site holds that will not leave it soon."""
        counts = [count for count in held if count]
        self.held, self.sites = sum(counts), len(counts)

    def comes(self, places: int, *, first: bool) -> None:
        """Take down that such a site holds so many more; `first`: it held none before."""
        self.held += places
        self.sites += first

    @property
    def least(self) -> int:
        """How many places a site may hold that moves, however slowly."""
        return max(1, self.most // _LEAST_SHARE)

    @property
    def fair(self) -> int:
        """How many places a site may hold that does not move."""
        return min(self.least, self._for_slow // (self.sites + 1))

    @property
    def _for_slow(self) -> int:
        # A lane is given half of all places: slow sites leave some even if they share one lane.
        return max(1, self.most // 3)

    @property
    def is_scarce(self) -> bool:
        """Whether slow sites are so many that each has fewer places than it wants connections."""
        return self.fair < min(INITIAL, self.least)

    def allowance(self, held: int, *, young: bool) -> int:
        """Return how many places a site may hold that does not move, and holds `held` now."""
        if young:
            # Twice what it leaves to others: the first of them has half of all.
            found = self.most * 3 // 4 - (self.held - held)
            first = not held and self.held < self.most * 7 // 8
            return max(int(first), min(self.most // 2, found * 2 // 3))
        # Some places are left for who has none.
        first = not held and self.held < max(2, self.most * 5 // 12)
        grown = self.fair if self.held < self._for_slow else min(held, self.fair)
        return max(int(first), grown)
