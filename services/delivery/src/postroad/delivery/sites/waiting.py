"""
Records that wait at a site, and the lines in which they wait. No I/O.

Transactional mail goes before bulk mail. Each class has a line of its own, so that transactional
mail only waits behind transactional mail.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from postroad.mail.traffic import TrafficClass
from postroad.policy.model import EgressPath, Source
from postroad.policy.snapshot import Snapshot
from postroad.spool.interface import LeasedRecord
from postroad.spool.record import ChosenSite


@dataclass(slots=True)
class WaitingRecord:
    """
    A record in a site's waiting room, with its egress path in `snapshot` and its source.

    The source is drawn only once, because drawing again would distort the weights. `since` is when
    the record came, in seconds since the epoch, if it has been parked before. `chosen` is the site
    that the record keeps to for a while (`delivery.routing.chosen`).
    """

    leased: LeasedRecord
    egress_path: EgressPath
    snapshot: Snapshot | None = None
    source: Source | None = None
    begun: float = 0.0  # when its message began, for the limiters
    refusals: int = 0  # connections that its site refused while others made progress
    since: float | None = None
    chosen: ChosenSite | None = None

    def is_outdated(self, current: Snapshot | None) -> bool:
        """Whether the configuration has changed since the record got its egress path."""
        return self.snapshot is not current


@dataclass(slots=True)
class Line:
    """The waiting records of one class in their order; `places` is what they take."""

    places: int = 0
    _records: deque[WaitingRecord] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self._records)

    def add(self, waiting: WaitingRecord) -> None:
        """Add a record at the end."""
        self._records.append(waiting)
        self.places += waiting.leased.places

    def put_back(self, waiting: WaitingRecord) -> None:
        """Add a record at the front."""
        self._records.appendleft(waiting)
        self.places += waiting.leased.places

    @property
    def first(self) -> WaitingRecord:
        """The next record."""
        return self._records[0]

    @property
    def last(self) -> WaitingRecord:
        """The record that came last."""
        return self._records[-1]

    def next(self) -> WaitingRecord:
        """Remove and return the next record."""
        waiting = self._records.popleft()
        self.places -= waiting.leased.places
        return waiting

    def pop(self) -> WaitingRecord:
        """Remove and return the record that came last."""
        waiting = self._records.pop()
        self.places -= waiting.leased.places
        return waiting

    def withdraw(self, leaves: Callable[[WaitingRecord], bool]) -> list[WaitingRecord]:
        """Remove and return the records for which `leaves` is true."""
        leaving: list[WaitingRecord] = []
        for _ in range(len(self)):  # once around, so that the order stays
            waiting = self.next()
            if leaves(waiting):
                leaving.append(waiting)
            else:
                self.add(waiting)
        return leaving


@dataclass(slots=True)
class SiteLines:
    """The lines of a site; `count` is the number of records in both."""

    transactional: Line = field(default_factory=Line)
    bulk: Line = field(default_factory=Line)
    count: int = 0

    def of(self, traffic_class: TrafficClass) -> Line:
        """Return the line of a class."""
        return self.bulk if traffic_class is TrafficClass.BULK else self.transactional

    @property
    def places(self) -> int:
        """How many places all waiting records take."""
        return self.transactional.places + self.bulk.places

    def places_before(self, traffic_class: TrafficClass) -> int:
        """Return the places of records that do not make way for a record of this class."""
        return self.places if traffic_class is TrafficClass.BULK else self.transactional.places

    def before(self, traffic_class: TrafficClass) -> int:
        """Return how many records go before the next one of this class."""
        return self.count if traffic_class is TrafficClass.BULK else len(self.transactional)

    def add(self, waiting: WaitingRecord) -> None:
        """Add a record after the others of its class."""
        self.of(waiting.leased.record.traffic_class).add(waiting)
        self.count += 1

    def put_back(self, waiting: WaitingRecord) -> None:
        """Add a record before the others of its class."""
        self.of(waiting.leased.record.traffic_class).put_back(waiting)
        self.count += 1

    def first(self) -> WaitingRecord | None:
        """Return the next record, transactional before bulk, without removing it."""
        line = self.transactional or self.bulk
        return line.first if line else None

    def next(self) -> WaitingRecord | None:
        """Remove and return the next record, transactional before bulk; None when none waits."""
        line = self.transactional or self.bulk
        if not line:
            return None
        self.count -= 1
        return line.next()

    def surplus(self, room: int) -> list[WaitingRecord]:
        """Remove and return the records beyond so many places: bulk first, the latest first."""
        found = []
        for line in (self.bulk, self.transactional):
            while line and self.places - line.last.leased.places >= room:
                found.append(line.pop())
                self.count -= 1
        return found

    def withdraw(self, leaves: Callable[[WaitingRecord], bool]) -> list[WaitingRecord]:
        """Remove and return the records for which `leaves` is true."""
        leaving = self.transactional.withdraw(leaves) + self.bulk.withdraw(leaves)
        self.count -= len(leaving)
        return leaving
