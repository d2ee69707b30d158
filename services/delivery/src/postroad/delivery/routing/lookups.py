"""
Limits the records that wait for a DNS look-up. No I/O; the clock is an argument.

An unanswered question holds up a message for ten seconds. So only a part of the places is for mail
that needs a look-up, and other mail passes it. A part of those is for slow names, which were
unanswered recently, so that they do not keep out new names. Bulk mail never gets all of either, so
that express mail always finds a place.

A record without a place, or that comes while the DNS is unavailable, is put off; a limited number a
second comes back. Express and bulk mail have separate turns for that: behind a newsletter to 30,000
domains, express mail would come back after ten minutes.
"""

from collections import Counter
from dataclasses import dataclass, field

from postroad.mail.traffic import TrafficClass

_SOON, _LONGEST = 5.0, 900.0  # seconds
_RATE = 50.0  # records of each class that come back in a second
_SLOW = 3  # a third of the places is for slow names
_BULK = 0.75  # the part of the places that bulk mail may have


@dataclass(slots=True)
class Lookups:
    """The places of records that wait for the DNS, `most` of all places of a process."""

    most: int
    _leased: Counter[TrafficClass] = field(default_factory=Counter)
    _slow: Counter[TrafficClass] = field(default_factory=Counter)  # those with slow names
    # When the last record that was put off comes back.
    _next: dict[TrafficClass, float] = field(default_factory=dict)

    def enter(self, traffic_class: TrafficClass, places: int, *, slow: bool) -> bool:
        """
        Let a record wait for the DNS if there is a place; return whether there is.

        `places` is the number that the record takes; `slow` says that its name is slow.
        """
        if not _has_place(self._leased, self.most, traffic_class):
            return False
        if slow and not _has_place(self._slow, max(1, self.most // _SLOW), traffic_class):
            return False
        self._leased[traffic_class] += places
        self._slow[traffic_class] += places * slow
        return True

    def leave(self, traffic_class: TrafficClass, places: int, *, slow: bool) -> None:
        """Give back the places that `enter` took."""
        self._leased[traffic_class] -= places
        self._slow[traffic_class] -= places * slow

    def wait(self, traffic_class: TrafficClass, now: float) -> float:
        """Return for how many seconds to put off a record."""
        turn = self._next.get(traffic_class, 0.0) + 1 / _RATE
        self._next[traffic_class] = max(now + _SOON, min(turn, now + _LONGEST))
        return self._next[traffic_class] - now


def _has_place(leased: Counter[TrafficClass], most: int, traffic_class: TrafficClass) -> bool:
    if leased.total() >= most:
        return False
    share = _BULK if traffic_class is TrafficClass.BULK else 1.0
    return leased[traffic_class] < max(1, int(most * share))
