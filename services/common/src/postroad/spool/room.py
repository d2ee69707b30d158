"""
What a process may have in its hands, in places: as many as records, which share the octets evenly.

A record takes as many places as its octets fill, and one at least. So records and octets are
bounded by the same count, and whatever divides the places among lanes, classes and sites divides
the octets with them. With two counts, large mail of one site filled the octets while most places
were free, and nobody's share was looked at.
"""

from dataclasses import dataclass

from postroad.mail.traffic import TrafficClass

_BULK_SHARE = 0.75  # of the places: express always finds some
_LANE_SHARE = 0.5  # of the places: a lane with a backlog waits in its stream, and the others go on
_UNDIVIDED = 16  # places: a lane may fill a room as small as that


@dataclass(frozen=True, slots=True)
class Room:
    """So many places, for so many octets together."""

    places: int
    octets: int

    def taken_by(self, octets: int) -> int:
        """Return how many places a record of this size takes, rounded up: all of them at most."""
        return min(self.places, max(1, -(-octets * self.places // self.octets)))

    def left_for(
        self, traffic_class: TrafficClass, *, free: int, lane: int, has_none: bool = False
    ) -> int:
        """
        Return how many more places a lane's mail of a class may be asked for.

        `free` places are nobody's, its lane has `lane`. `has_none`: none of this class is in hand
        from there, and none was asked for. Then express may always ask for one: what was asked for
        of bulk mail before the room was full may still come, and be larger than was thought.
        """
        whole = max(int(self.places * _LANE_SHARE), min(self.places, _UNDIVIDED))
        left = whole - lane
        if traffic_class is TrafficClass.BULK:
            free -= int(self.places * (1 - _BULK_SHARE))
            left -= int(whole * (1 - _BULK_SHARE))
            has_none = False
        return max(int(has_none), min(free, left))
