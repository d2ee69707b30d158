"""
The room for mail whose destination has to be looked up. No I/O; the clock is an argument.

A question that the DNS does not answer keeps its message for ten seconds. So mail that has to ask
has a part of the places, and mail that need not goes past it. Names that were not answered of late
have some of those, so that they do not keep out names that nobody has asked for yet. Bulk never has
all of either, so that express finds a place whatever bulk there is.

Who finds no place, or comes while the DNS is known to be away, comes back later, so many in a
second. Express and bulk stand in lines of their own for that: behind a newsletter to 30,000 domains
express would come back after ten minutes.
"""

from collections import Counter
from dataclasses import dataclass, field

from postroad.mail.traffic import TrafficClass

_SOON, _LONGEST = 5.0, 900.0  # seconds
_RATE = 50.0  # records of each class that come back in a second
_SLOW = 3  # the part of the places that names may have which were not answered of late
_BULK = 0.75  # of the places, as of all that a process has in hand


@dataclass(slots=True)
class Lookups:
    """The places of records that wait for the DNS: `most` of those that a process has."""

    most: int
    _leased: Counter[TrafficClass] = field(default_factory=Counter)
    _slow: Counter[TrafficClass] = field(default_factory=Counter)  # of those that are taken
    # When the one that was put off last comes back.
    _next: dict[TrafficClass, float] = field(default_factory=dict)

    def enter(self, traffic_class: TrafficClass, places: int, *, slow: bool) -> bool:
        """
        Let a record wait for the DNS that takes so many places, if one is left.

        `slow`: the name was not answered of late.
        """
        if not _has_place(self._leased, self.most, traffic_class):
            return False
        if slow and not _has_place(self._slow, max(1, self.most // _SLOW), traffic_class):
            return False
        self._leased[traffic_class] += places
        self._slow[traffic_class] += places * slow
        return True

    def leave(self, traffic_class: TrafficClass, places: int, *, slow: bool) -> None:
        """Give back the places that `enter` gave."""
        self._leased[traffic_class] -= places
        self._slow[traffic_class] -= places * slow

    def wait(self, traffic_class: TrafficClass, now: float) -> float:
        """Return for how many seconds a record is put off."""
        turn = self._next.get(traffic_class, 0.0) + 1 / _RATE
        self._next[traffic_class] = max(now + _SOON, min(turn, now + _LONGEST))
        return self._next[traffic_class] - now


def _has_place(leased: Counter[TrafficClass], most: int, traffic_class: TrafficClass) -> bool:
    if leased.total() >= most:
        return False
    share = _BULK if traffic_class is TrafficClass.BULK else 1.0
    return leased[traffic_class] < max(1, int(most * share))
