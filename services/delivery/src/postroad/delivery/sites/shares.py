"""
Shares the places of a process among its sites, and those of a site among its mail. No I/O.

The places are limited, and a message for a silent host keeps its place for minutes. So all sites
that do not move together get a part of the places, in even shares, and the rest is for sites that
move.

At a site that gets more mail than it takes, some is parked. If mail that comes got each place that
becomes free, parked mail would never have its turn. So the free places belong to the parked mail
that came before. Parked mail becomes ready by itself when about half a room of mail is left before
it. If the site is faster than that, more is recalled, so that the room does not run empty.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from postroad.delivery.sites.concurrency import INITIAL
from postroad.delivery.sites.under_way import PlacesUnderWay

_LEAST_SHARE = 15  # a site that does not move needs no more than a fifteenth of all places
_FEW = 4  # a quarter of the room is few places
_SHORTEST_PARK = 1.0  # seconds
_LEAST_RATE = 0.5  # messages a second, of a site that stands still, since it may move again


@dataclass(slots=True)
class Shares:
    """
    The `most` places of a process; a record takes one or several (`spool.room`).

    `held` is the number of places that will not be free soon, `sites` the number of sites with such
    places. `under_way` counts those of the attempts.
    """

    most: int
    held: int = 0
    sites: int = 0
    under_way: PlacesUnderWay = field(init=False)

    def __post_init__(self) -> None:
        self.under_way = PlacesUnderWay(self.most)

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
        """Whether slow sites are so many, or have so much under way, that others need places."""
        return self.fair < min(INITIAL, self.least) or self.under_way.is_scarce

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


def may_wait(room: int, used: int, *, parked: int, coming: int) -> bool:
    """
    Whether a record may wait in a room, if so many places of it are used.

    `parked` is what parked mail takes that came before it, or any number that fills the room. If
    three quarters of the room are free although recalled mail is `coming`, the site is faster than
    mail can be recalled, and any record may wait.
    """
    if used >= room:
        return False
    return used + parked < room or used + coming < max(1, room // _FEW)


def recallable(room: int, used: int) -> tuple[int, int]:
    """
    Return how many places are free for recalled mail, and a few places.

    So many of them may be reserved for mail that becomes ready by itself. The last few places of
    the room are not filled, because the room may become smaller; then mail would be parked again.
    """
    few = room // _FEW
    return room - few - used, few


def until_turn(
    before: int, *, room: float, rate: float, not_before: float, longest: float
) -> float:
    """
    Return for how many seconds to put off a record behind `before` others.

    `room` is how many records the room holds, `rate` how many leave in a second, and `not_before`
    the seconds until any may. The result is at least a second, and `longest` at most.
    """
    turn = (before + 1 - room / 2) / max(rate, _LEAST_RATE)
    return max(_SHORTEST_PARK, min(max(turn, not_before), longest))
