"""
Remembers parked records in the order in which they came, so that they go in that order. No I/O.

A record is put off because its site has no room or is down, for a time estimated from the site's
pace. The estimate may be wrong by minutes, because the first connections to a site tell little
about later ones. So a process remembers its parked records, with just enough data to find them. The
first ones are recalled when the site has room, and mail that came later does not take their places.
The others become ready when they are due; so do all of a process that is killed, or whose lane goes
to another. So mail is parked for two minutes at most, or for longer if there is so much of it that
it would come back too often.

The order is that of arrival, however often a record has been parked. Records that are due within
seconds cannot be recalled, but come by themselves; some places are reserved for them.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter

from postroad.mail.traffic import TrafficClass
from postroad.spool.ids import RecordId
from postroad.spool.lanes.owners import LaneKey

MOST = 10_000  # records that are remembered, of all sites; half a kilobyte each

_GONE = 60.0  # seconds after its due time, after which a record is forgotten
_LATE = 10.0  # seconds after the others around it that a record is due, to be recalled before
_SHORT, _LONG = 120.0, 900.0  # the longest time to put mail off, with little and with much of it
_COME_BACK = 50  # the most records a second that may come back; each costs as much as accepting it

SiteKey = tuple[str, str]
_TURN = attrgetter("turn")


@dataclass(slots=True, eq=False)
class Parked:
    """
    A parked record: what is needed to find it, its places, and when it is due.

    `since` is when it came, in seconds since the epoch, and `due` a time of the event loop.
    """

    record_id: RecordId
    domain: str
    lane_key: LaneKey
    places: int
    since: float
    due: float
    stored: bool = False
    recalled: bool = False

    @property
    def turn(self) -> tuple[float, RecordId]:
        """What it is sorted by; unique, as many records may come at the same time."""
        return self.since, self.record_id


@dataclass(slots=True)
class ParkedLine:
    """A line of parked records; `coming` is the places of those that were recalled."""

    coming: int = 0
    _records: list[Parked] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Parked]:
        return iter(self._records)

    @property
    def last(self) -> Parked:
        """The record that came last."""
        return self._records[-1]

    def add(self, parked: Parked) -> None:
        """Add a record in its turn."""
        insort(self._records, parked, key=_TURN)

    def remove(self, parked: Parked) -> None:
        """Remove a record that is in the line."""
        del self._records[bisect_left(self._records, parked.turn, key=_TURN)]
        if parked.recalled:
            self.coming -= parked.places

    def before(self, since: float) -> int:
        """Return how many records came before a time."""
        return bisect_left(self._records, since, key=attrgetter("since"))

    def places_before(self, since: float | None = None, *, most: int) -> int:
        """Return their places, or some number from `most` on if they are more."""
        places = 0
        for each in self._records:
            if places >= most or (since is not None and each.since >= since):
                break
            places += each.places
        return places

    def recall(self, places: int, *, few: int, most: int, after: float) -> list[Parked]:
        """
        Choose the records that are recalled to so many free places, `most` at most.

        Records that are due until `after` become ready soon. If they are before others, up to `few`
        places are kept free for them. Records that are due much later than others around them may
        take `few` more places; otherwise they would wait while later ones come.
        """
        found: list[Parked] = []
        reserve = few
        for each in self._records:
            if places + few <= 0 or len(found) == most:
                break
            if each.recalled:
                continue
            if each.stored and each.due > (after if places > 0 else after + _LATE):
                found.append(each)
            elif each.stored and places > 0:
                kept = min(each.places, reserve)
                reserve -= kept
                places -= kept
                continue
            places -= each.places
        for each in found:
            each.recalled, each.due = True, after
            self.coming += each.places
        return found


@dataclass(slots=True)
class ParkedLines:
    """The parked records of one site."""

    transactional: ParkedLine = field(default_factory=ParkedLine)
    bulk: ParkedLine = field(default_factory=ParkedLine)

    def of(self, traffic_class: TrafficClass) -> ParkedLine:
        """Return the line of a class."""
        return self.bulk if traffic_class is TrafficClass.BULK else self.transactional

    def before(self, traffic_class: TrafficClass, since: float) -> int:
        """Return how many records go before one that came then: bulk goes behind all others."""
        before = self.of(traffic_class).before(since)
        return before + len(self.transactional) if traffic_class is TrafficClass.BULK else before

    def places_before(self, traffic_class: TrafficClass, since: float, *, most: int) -> int:
        """Return their places, or some number from `most` on if they are more."""
        places = self.of(traffic_class).places_before(since, most=most)
        if traffic_class is TrafficClass.BULK and places < most:
            places += self.transactional.places_before(most=most)
        return places

    @property
    def coming(self) -> int:
        """The places of the records that were recalled and have not come yet."""
        return self.transactional.coming + self.bulk.coming

    def __len__(self) -> int:
        return len(self.transactional) + len(self.bulk)


@dataclass(slots=True)
class ParkedMail:
    """All parked records that a process remembers. Times are those of its event loop."""

    most: int = MOST
    _known: dict[RecordId, tuple[SiteKey, TrafficClass, Parked]] = field(default_factory=dict)
    _sites: dict[SiteKey, ParkedLines] = field(default_factory=dict)

    def add(self, site: SiteKey, traffic_class: TrafficClass, parked: Parked) -> None:
        """
        Add a record in its turn.

        If there are too many, the last of the longest line is forgotten.
        """
        self.came(parked.record_id)
        self._sites.setdefault(site, ParkedLines()).of(traffic_class).add(parked)
        self._known[parked.record_id] = site, traffic_class, parked
        if len(self._known) > self.most:
            lines = (
                line for each in self._sites.values() for line in (each.transactional, each.bulk)
            )
            self.came(max(lines, key=len).last.record_id)

    def came(self, record_id: RecordId) -> Parked | None:
        """Forget a record that is in hand again, or gone; return what was known of it."""
        found = self._known.pop(record_id, None) if self._known else None
        if found is None:
            return None
        site, traffic_class, parked = found
        lines = self._sites[site]
        lines.of(traffic_class).remove(parked)
        if not len(lines):
            del self._sites[site]
        return parked

    def drop(self, parked: Parked) -> None:
        """Forget a record, unless it has come and was parked again since."""
        found = self._known.get(parked.record_id)
        if found is not None and found[2] is parked:
            self.came(parked.record_id)

    @property
    def longest(self) -> float:
        """The most seconds for which to put off a record."""
        if len(self._known) >= self.most:
            return _LONG  # there may be many more than are remembered
        return min(_LONG, max(_SHORT, len(self._known) / _COME_BACK))

    def at(self, site: SiteKey) -> ParkedLines | None:
        """Return the parked records of a site, None if there are none."""
        return self._sites.get(site)

    def __len__(self) -> int:
        return len(self._known)

    def leave(self, lane_key: LaneKey) -> None:
        """Forget the records of a pool's lane that this process has left."""
        self._forget_those(lambda each: each.lane_key == lane_key)

    def forget(self, now: float) -> None:
        """Forget records that were due and did not come: ended, or moved."""
        self._forget_those(lambda each: each.due < now - _GONE)

    def _forget_those(self, are_gone: Callable[[Parked], bool]) -> None:
        for _, _, each in list(self._known.values()):
            if are_gone(each):
                self.came(each.record_id)
