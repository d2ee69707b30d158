"""
Shares places among the senders and classes of mail. No I/O.

Bulk mail may have three quarters of the places, so that transactional mail always finds one. In the
same way no sender gets all places: a sender may take another one while it has less than three times
as many as are free. So one sender has three quarters at most, and two have three sevenths each, and
there are free places for a sender that has none. (Such a limit is known as a dynamic threshold,
from the shared buffers of network switches.)
"""

from collections import Counter
from dataclasses import dataclass, field

from postroad.mail.traffic import TrafficClass

_BULK = 0.75  # the part of the places that bulk mail may have
_OF_FREE = 3  # places that a sender may have for each free one


@dataclass(slots=True)
class Places:
    """`most` places. What takes several may exceed a limit that it was below."""

    most: int
    _by_class: Counter[TrafficClass] = field(default_factory=Counter)
    _by_sender: Counter[str] = field(default_factory=Counter)

    def free(self, traffic_class: TrafficClass) -> int:
        """Return how many places a class has left; 0 or less when it has none."""
        free = self.most - self._by_class.total()
        if traffic_class is TrafficClass.BULK:
            free = min(free, max(1, int(self.most * _BULK)) - self._by_class[traffic_class])
        return free

    def has_one(self, traffic_class: TrafficClass, sender: str) -> bool:
        """Whether a sender may take another place."""
        free = self.free(traffic_class)
        return free > 0 and self._by_sender[sender] < _OF_FREE * free

    def take(self, traffic_class: TrafficClass, sender: str, number: int = 1) -> None:
        """Take so many places."""
        self._by_class[traffic_class] += number
        self._by_sender[sender] += number

    def give_back(self, traffic_class: TrafficClass, sender: str, number: int = 1) -> None:
        """Give back so many places."""
        self._by_class[traffic_class] -= number
        self._by_sender[sender] -= number
        if not self._by_sender[sender]:
            del self._by_sender[sender]
