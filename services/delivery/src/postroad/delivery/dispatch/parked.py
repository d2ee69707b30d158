"""
Remembers parked records, so that they can be taken back before they are due. No I/O.

A record is put off because its site has no room or is down, for a time estimated from the site's
pace. The estimate may be too long by minutes, because the first connections to a site tell little
about later ones. So a process remembers its parked records, with just enough data to find them, and
takes the first ones back when the site has room. The others become ready when they are due; so do
all of a process that is killed, or whose lane goes to another. So mail is parked for a minute at
most, or for longer if there is so much of it that it would come back too often.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from postroad.mail.traffic import TrafficClass
from postroad.spool.ids import RecordId

MOST = 10_000  # records that are remembered, of all sites; half a kilobyte each

_LATE = 60.0  # seconds after its due time, after which a record is forgotten
_SHORT, _LONG = 60.0, 900.0  # the longest time to put mail off, with little and with much of it
_COME_BACK = 50  # the most records a second that may come back; each costs as much as accepting it
_NONE: Mapping[RecordId, "Parked"] = {}

SiteKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Parked:
    """A parked record: what is needed to find it, its places, and when it is due."""

    record_id: RecordId
    domain: str
    lane: str
    places: int
    due: float


@dataclass(slots=True)
class ParkedMail:
    """All parked records that a process remembers. Times are those of its event loop."""

    most: int = MOST
    _count: int = 0
    _lines: dict[tuple[SiteKey, TrafficClass], dict[RecordId, Parked]] = field(default_factory=dict)

    def add(self, site: SiteKey, traffic_class: TrafficClass, parked: Parked) -> None:
        """Add a record after the others of its class, unless there are too many."""
        if self._count < self.most:
            line = self._lines.setdefault((site, traffic_class), {})
            self._count += parked.record_id not in line
            line[parked.record_id] = parked

    def came(self, site: SiteKey, traffic_class: TrafficClass, record_id: RecordId) -> None:
        """Forget a record that is in hand again."""
        line = self._lines.get((site, traffic_class)) if self._lines else None
        if line is not None and line.pop(record_id, None) is not None:
            self._count -= 1
            if not line:
                del self._lines[site, traffic_class]

    @property
    def longest(self) -> float:
        """The most seconds for which to put off a record."""
        if self._count >= self.most:
            return _LONG  # there may be many more than are remembered
        return min(_LONG, max(_SHORT, self._count / _COME_BACK))

    def has(self, site: SiteKey) -> bool:
        """Whether any parked record of a site is remembered."""
        return any((site, each) in self._lines for each in TrafficClass) if self._lines else False

    def coming(self, site: SiteKey, until: float) -> int:
        """Return the places of the records that are due until a time."""
        return sum(each.places for _, each in self._of(site, lambda due: due <= until))

    def take(self, site: SiteKey, places: int, *, most: int, after: float) -> list[Parked]:
        """
        Take out the first records, express before bulk, for so many places, `most` at most.

        Records that are due until `after` are left, since they become ready soon.
        """
        leased: list[tuple[TrafficClass, Parked]] = []
        for traffic_class, each in self._of(site):
            if places <= 0 or len(leased) == most:
                break
            if each.due > after:
                leased.append((traffic_class, each))
                places -= each.places
        for traffic_class, each in leased:
            self.came(site, traffic_class, each.record_id)
        return [each for _, each in leased]

    def _of(
        self, site: SiteKey, goes_on: Callable[[float], bool] = lambda _: True
    ) -> Iterator[tuple[TrafficClass, Parked]]:
        """Yield a site's records, of each class until `goes_on` is false for a due time."""
        for traffic_class in TrafficClass:  # express first
            for each in self._lines.get((site, traffic_class), _NONE).values():
                if not goes_on(each.due):
                    break
                yield traffic_class, each

    def leave(self, lane: str) -> None:
        """Forget the records of a lane that this process has left."""
        self._forget_those(lambda each: each.lane == lane)

    def forget(self, now: float) -> None:
        """Forget records that were due and did not come: ended, or moved."""
        self._forget_those(lambda each: each.due < now - _LATE)

    def _forget_those(self, are_gone: Callable[[Parked], bool]) -> None:
        for (site, traffic_class), line in list(self._lines.items()):
            for each in [each for each in line.values() if are_gone(each)]:
                self.came(site, traffic_class, each.record_id)
