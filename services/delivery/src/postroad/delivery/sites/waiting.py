"""
Records that wait for their turn at a site, and the lines in which they do. No I/O.

Express is served before bulk. Each class has a line of its own, with a turn of its own for what was
put off: what waits behind express mail is only express mail.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from postroad.mail.traffic import TrafficClass
from postroad.policy.model import EgressPath, Source
from postroad.policy.snapshot import Snapshot
from postroad.spool.interface import LeasedRecord


@dataclass(slots=True)
class WaitingRecord:
    """
    A record in a site's waiting room, its egress path by `snapshot`, and from where it will be
    sent.

    That is drawn once: drawn again where it does not suit, the shares were not the weights.
    """

    leased: LeasedRecord
    egress_path: EgressPath
    snapshot: Snapshot | None = None
    source: Source | None = None
    begun: float = 0.0  # when, by the limiters
    refusals: int = 0  # connections that its site refused while others worked


@dataclass(slots=True)
class Line:
    """The records of one class that wait at a site, in their order; `places` is what they take."""

    places: int = 0
    _last_turn: float = 0.0  # when the one comes back that was parked last
    _records: deque[WaitingRecord] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self._records)

    def add(self, waiting: WaitingRecord) -> None:
        """Let a record wait behind the others."""
        self._records.append(waiting)
        self.places += waiting.leased.places

    def put_back(self, waiting: WaitingRecord) -> None:
        """Let a record wait before the others."""
        self._records.appendleft(waiting)
        self.places += waiting.leased.places

    @property
    def first(self) -> WaitingRecord:
        """The record that is next."""
        return self._records[0]

    @property
    def last(self) -> WaitingRecord:
        """The record that came last."""
        return self._records[-1]

    def next(self) -> WaitingRecord:
        """Take out the record that is next."""
        waiting = self._records.popleft()
        self.places -= waiting.leased.places
        return waiting

    def pop(self) -> WaitingRecord:
        """Take out the record that came last."""
        waiting = self._records.pop()
        self.places -= waiting.leased.places
        return waiting

    def park(self, now: float, *, before: int, gap: float, longest: float) -> float:
        """
        Return in how many seconds it is the turn of a record that is put off.

        That is behind `before` that wait, and behind all that were put off, `gap` seconds each.
        """
        turn = max(self._last_turn, now + before * gap) + gap
        self._last_turn = min(turn, now + longest)
        return self._last_turn - now

    def forget_turns(self) -> None:
        """Let what is put off next come back behind those that wait, and nobody else."""
        self._last_turn = 0.0

    def withdraw(self, leaves: Callable[[WaitingRecord], bool]) -> list[WaitingRecord]:
        """Take out, and return, those that are to leave."""
        leaving: list[WaitingRecord] = []
        for _ in range(len(self)):  # once round, so that their order stays
            waiting = self.next()
            if leaves(waiting):
                leaving.append(waiting)
            else:
                self.add(waiting)
        return leaving


@dataclass(slots=True)
class SiteLines:
    """The lines of a site; `count` is how many records wait in both."""

    express: Line = field(default_factory=Line)
    bulk: Line = field(default_factory=Line)
    count: int = 0

    def of(self, traffic_class: TrafficClass) -> Line:
        """Return the line of a class."""
        return self.bulk if traffic_class is TrafficClass.BULK else self.express

    @property
    def places(self) -> int:
        """How many places all that waits takes."""
        return self.express.places + self.bulk.places

    def places_before(self, traffic_class: TrafficClass) -> int:
        """Return how many places that takes which makes no way for another record of a class."""
        return self.places if traffic_class is TrafficClass.BULK else self.express.places

    def before(self, line: Line) -> int:
        """Return how many records go before the next that comes into a line."""
        return self.count if line is self.bulk else len(line)

    def add(self, waiting: WaitingRecord) -> None:
        """Let a record wait behind the others of its class."""
        self.of(waiting.leased.record.traffic_class).add(waiting)
        self.count += 1

    def put_back(self, waiting: WaitingRecord) -> None:
        """Let a record wait before the others of its class."""
        self.of(waiting.leased.record.traffic_class).put_back(waiting)
        self.count += 1

    def first(self) -> WaitingRecord | None:
        """Return the record that is next, express before bulk, without taking it out."""
        line = self.express or self.bulk
        return line.first if line else None

    def next(self, few: int) -> WaitingRecord | None:
        """
        Take out the record that is next, express before bulk; None when none waits.

        Where fewer than `few` wait, the turns of what was put off are forgotten.
        """
        line = self.express or self.bulk
        if not line:
            return None
        if self.before(line) < few:
            line.forget_turns()
        self.count -= 1
        return line.next()

    def surplus(self, room: int) -> list[WaitingRecord]:
        """Take out, and return, what waits beyond so many places: who came last, bulk first."""
        found = []
        for line in (self.bulk, self.express):
            while line and self.places - line.last.leased.places >= room:
                found.append(line.pop())
                self.count -= 1
        return found

    def withdraw(self, leaves: Callable[[WaitingRecord], bool]) -> list[WaitingRecord]:
        """Take out, and return, what waits and is to leave."""
        leaving = self.express.withdraw(leaves) + self.bulk.withdraw(leaves)
        self.count -= len(leaving)
        return leaving
