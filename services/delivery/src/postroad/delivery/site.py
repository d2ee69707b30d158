"""
One site: its waiting room, its limits, and whether it is up. No I/O; the clock is an argument.

Express is served before bulk. A site whose hosts cannot be reached is down for a while: what comes
in the meantime is deferred by its own schedule, without a connection for each record.

A site's mail must not keep the rest of its lane waiting, so a room holds what the site takes in a
few seconds, by its pace. What finds no place is parked: put off until, by pace and the length of
the line, it will be its turn. That costs as much as accepting it did, so a site that is fast enough
never comes to it: its backlog is left in the stream, where its lane is not pulled for a moment.
"""

from collections import deque
from dataclasses import dataclass, field

from postroad.delivery.limits import SiteLimiter
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import Source, WayOut
from postroad.spool.interface import Taken

_SHORTEST_PARK, _LONGEST_PARK = 1.0, 900.0  # seconds
_UNKNOWN_PACE = 10.0  # messages per second, of a site that has not been seen at work
_PACE_WINDOW = 1.0  # seconds over which the pace is measured
_ROOM_SECONDS = 10.0  # how long, at the site's pace, the last of a full room waits
_LEAST_SHARE = 15  # a room is never smaller than this part of what a process has in hand
MAX_DOWN = 60.0  # seconds


@dataclass(slots=True)
class Waiting:
    """
    A record in a site's waiting room, and from where it will be sent.

    That is drawn once: drawn again where it does not suit, the shares were not the weights.
    """

    taken: Taken
    way_out: WayOut
    source: Source | None = None


@dataclass(slots=True)
class Site:
    """What is known of one site in this process."""

    name: str
    limiter: SiteLimiter
    most: int  # records that may wait however fast the site is: what the process has in hand
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

    def room(self, now: float) -> int:
        """Return how many records may wait here."""
        pace = self._pace_by(now)
        if pace is None:
            return max(1, self.most // 2)  # nothing is known of it yet
        return min(self.most, max(1, self.most // _LEAST_SHARE, int(pace * _ROOM_SECONDS)))

    def _pace_by(self, now: float) -> float | None:
        """Return messages per second, also of one that has begun none for a while."""
        elapsed = now - self._measured
        if not self._measured or elapsed < _PACE_WINDOW:
            return self._pace or None
        current = self._begun / elapsed
        return (self._pace + current) / 2 if self._pace else current

    def has_room(self, now: float) -> bool:
        """Whether another record may wait here."""
        return self.waiting < self.room(now)

    def surplus(self, now: float) -> list[Waiting]:
        """Take out, and return, what waits beyond the room: it was let in before the pace fell."""
        found = []
        room = self.room(now)
        for line in reversed(self.rooms.values()):  # bulk first, and who came last
            while line and self.waiting > room:
                found.append(line.pop())
        return found

    def add(self, waiting: Waiting) -> None:
        """Let a record wait."""
        self.rooms[waiting.taken.record.traffic_class].append(waiting)

    def first(self) -> Waiting | None:
        """Return the record that is next, express before bulk, without taking it out."""
        return next((room[0] for room in self.rooms.values() if room), None)

    def next(self) -> Waiting | None:
        """Take out the record that is next, express before bulk; None when none waits."""
        for room in self.rooms.values():
            if room:
                if self.waiting < self.most // (2 * _LEAST_SHARE):
                    self.parked = 0
                return room.popleft()
        return None

    def empty(self) -> list[Waiting]:
        """Take out, and return, all that waits."""
        leaving = [waiting for room in self.rooms.values() for waiting in room]
        for room in self.rooms.values():
            room.clear()
        return leaving

    def withdraw(self, lane: str) -> list[Waiting]:
        """Take out, and return, what waits and came from a lane."""
        leaving = [each for room in self.rooms.values() for each in room if each.taken.lane == lane]
        for waiting in leaving:
            self.rooms[waiting.taken.record.traffic_class].remove(waiting)
        return leaving

    def begin(self, now: float) -> None:
        """Take down that a message begins, after `next` has taken it out."""
        self.limiter.begin(now)
        if not self.waiting:
            self._measured = 0.0  # so seen, the pace is that of the mail's coming, not the site's
            return
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
