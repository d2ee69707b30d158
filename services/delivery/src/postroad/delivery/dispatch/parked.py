"""
What was put off for its site's sake, so that it can come back before its time. No I/O.

Mail is parked until its turn by the pace that its site showed, and put off while the site is down.
Either may be too long by minutes: the first connections to a site tell little of the next ones. So
a process remembers what it put off, by as little as finds it again, and takes the first of it back
when there is room at the site. What it does not remember comes back in its time: when a process is
killed, or its lane goes to another, nobody does. So mail is put off for a minute at most, or for
longer where so much is put off that it would come back too often.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from postroad.mail.traffic import TrafficClass
from postroad.spool.ids import RecordId

MOST = 10_000  # records that are remembered, of all sites; half a kilobyte each

_LATE = 60.0  # seconds after which nothing is expected any more
_SHORT, _LONG = 60.0, 900.0  # seconds that mail is put off at most, by how much there is of it
_COME_BACK = 50  # a second that come back at the most; each costs as much as accepting it did
_NONE: Mapping[RecordId, "Parked"] = {}

SiteKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Parked:
    """A record that was put off: what finds it, its `places`, and when it is `due` by itself."""

    record_id: RecordId
    domain: str
    lane: str
    places: int
    due: float


@dataclass(slots=True)
class ParkedMail:
    """All records that a process has put off and remembers. Times are those of its event loop."""

    most: int = MOST
    _count: int = 0
    _lines: dict[tuple[SiteKey, TrafficClass], dict[RecordId, Parked]] = field(default_factory=dict)

    def add(self, site: SiteKey, traffic_class: TrafficClass, parked: Parked) -> None:
        """Remember a record behind the others of its class, if not too many are remembered."""
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
        """For how many seconds a record is put off at most."""
        if self._count >= self.most:
            return _LONG  # how much there is besides is not known
        return min(_LONG, max(_SHORT, self._count / _COME_BACK))

    def has(self, site: SiteKey) -> bool:
        """Whether anything is remembered of a site."""
        return any((site, each) in self._lines for each in TrafficClass) if self._lines else False

    def coming(self, site: SiteKey, until: float) -> int:
        """Return how many places the first take that come back by themselves until then."""
        return sum(each.places for _, each in self._of(site, lambda due: due <= until))

    def take(self, site: SiteKey, places: int, *, most: int, after: float) -> list[Parked]:
        """
        Take out the first, express before bulk, that are to come back early, for so many places.

        They are no more than `most`. What is due until `after` comes back by itself.
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
        """Yield what is remembered of a site, of each class up to where it does not go on."""
        for traffic_class in TrafficClass:  # express first
            for each in self._lines.get((site, traffic_class), _NONE).values():
                if not goes_on(each.due):
                    break
                yield traffic_class, each

    def leave(self, lane: str) -> None:
        """Forget what is in a lane that is another process's."""
        self._forget_those(lambda each: each.lane == lane)

    def forget(self, now: float) -> None:
        """Forget what was due and did not come: it has ended, or is in other hands."""
        self._forget_those(lambda each: each.due < now - _LATE)

    def _forget_those(self, are_gone: Callable[[Parked], bool]) -> None:
        for (site, traffic_class), line in list(self._lines.items()):
            for each in [each for each in line.values() if are_gone(each)]:
                self.came(site, traffic_class, each.record_id)
