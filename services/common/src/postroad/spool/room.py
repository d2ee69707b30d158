"""
Bounds the records in a process's hands, and their octets, with one count of places.

Each place stands for one record and an equal share of the octets. A record takes as many places as
its octets fill, at least one. So sharing the places among lanes, classes and sites shares the
octets as well. With two separate counts, the large mail of one site would use up the octets while
most places are free, and no share would prevent that.
"""

from dataclasses import dataclass

from postroad.mail.traffic import TrafficClass

_BULK_SHARE = 0.75  # of the places: transactional mail always has some
_LANE_SHARE = 0.5  # of the places: the rest of a lane's backlog waits in its stream
_UNDIVIDED = 16  # up to so many places, one lane may fill all of them


@dataclass(frozen=True, slots=True)
class Room:
    """A number of places, for a number of octets together."""

    places: int
    octets: int

    def taken_by(self, octets: int) -> int:
        """Return how many places a record of this size takes, rounded up; at most all of them."""
        return min(self.places, max(1, -(-octets * self.places // self.octets)))

    def left_for(
        self, traffic_class: TrafficClass | None, *, free: int, lane: int, has_none: bool = False
    ) -> int:
        """
        Return for how many more places mail of a lane and class may be requested.

        Without a class it is mail that has waited, of both classes: it may have the places of bulk
        mail, and one in any case, as some of it is transactional mail.

        `free` is the number of free places, and `lane` that of the lane's taken places. `has_none`
        says that no such record is in hand or requested. Then transactional mail may
        always request one, since bulk mail that was requested before may be larger than expected
        and fill all places.
        """
        whole = max(int(self.places * _LANE_SHARE), min(self.places, _UNDIVIDED))
        left = whole - lane
        if traffic_class is not TrafficClass.TRANSACTIONAL:
            free -= int(self.places * (1 - _BULK_SHARE))
            left -= int(whole * (1 - _BULK_SHARE))
        has_none = has_none and traffic_class is not TrafficClass.BULK
        return max(int(has_none), min(free, left))
