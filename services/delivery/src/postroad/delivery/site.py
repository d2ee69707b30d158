"""
One site: its waiting room, its limits, and whether it is up. No I/O; the clock is an argument.

Express is served before bulk. A site whose hosts cannot be reached is down for a while: what comes
in the meantime is deferred by its own schedule, without a connection for each record.

A full waiting room must not keep the rest of its lane waiting, so what finds no place is parked:
put off until, by the site's pace and the length of the line, it will be its turn.
"""

from collections import deque
from dataclasses import dataclass, field

from postroad.delivery.limits import SiteLimiter
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import WayOut
from postroad.spool.interface import Taken

_SHORTEST_PARK, _LONGEST_PARK = 1.0, 900.0  # seconds
_UNKNOWN_PACE = 10.0  # messages per second, of a site that has not been seen at work
_PACE_WINDOW = 1.0  # seconds over which the pace is measured
MAX_DOWN = 60.0  # seconds


@dataclass(slots=True)
class Waiting:
    """A record in a site's waiting room."""

    taken: Taken
    way_out: WayOut


@dataclass(slots=True)
class Site:
    """What is known of one site in this process."""

    name: str
    limiter: SiteLimiter
    room: int  # records that may wait; a site must not fill the whole process
    rooms: dict[TrafficClass, deque[Waiting]] = field(
        default_factory=lambda: {traffic_class: deque() for traffic_class in TrafficClass}
    )
    down_until: float = 0.0
    down_reason: str = ""
    parked: int = 0
    timer_set: bool = False
    _pace: float = 0.0  # messages per second, 0 when it is not known
    _begun: int = 0
    _measured: float = 0.0

    @property
    def waiting(self) -> int:
        """How many records wait."""
        return sum(map(len, self.rooms.values()))

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self.waiting and not self.limiter.connections

    def has_room(self) -> bool:
        """Whether another record may wait here."""
        return self.waiting < self.room

    def add(self, waiting: Waiting) -> None:
        """Let a record wait."""
        if self.idle:
            self._measured = 0.0  # the pace is that of a site with mail, not of one without
        self.rooms[waiting.taken.record.traffic_class].append(waiting)

    def next(self) -> Waiting | None:
        """Return the record that is next, express before bulk; None when none waits."""
        for room in self.rooms.values():
            if room:
                if self.waiting < self.room // 2:
                    self.parked = 0
                return room.popleft()
        return None

    def withdraw(self, lane: str) -> list[Waiting]:
        """Take out, and return, what waits and came from a lane."""
        leaving = [each for room in self.rooms.values() for each in room if each.taken.lane == lane]
        for waiting in leaving:
            self.rooms[waiting.taken.record.traffic_class].remove(waiting)
        return leaving

    def begin(self, now: float) -> None:
        """Take down that a message begins."""
        self.limiter.begin(now)
        if not self._measured:
            self._begun, self._measured = 0, now
            return
        self._begun += 1
        if now - self._measured >= _PACE_WINDOW:
            measured = self._begun / (now - self._measured)
            self._pace = (self._pace + measured) / 2 if self._pace else measured
            self._begun, self._measured = 0, now

    def park(self) -> float:
        """Return for how many seconds a record that finds no room is put off."""
        self.parked += 1
        turn = (self.waiting + self.parked) / (self._pace or _UNKNOWN_PACE)
        return min(max(turn, _SHORTEST_PARK), _LONGEST_PARK)

    def is_down(self, now: float) -> bool:
        """Whether its hosts could not be reached just now."""
        return now < self.down_until

    def went_down(self, reason: str, now: float, retry_first: float) -> None:
        """Its hosts could not be reached: leave them alone for a while."""
        self.down_until = now + min(MAX_DOWN, retry_first / 2)
        self.down_reason = reason

    def came_up(self) -> None:
        """It was reached."""
        self.down_until = 0.0
