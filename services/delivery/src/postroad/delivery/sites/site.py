"""
One site for the mail of one egress path: its waiting room, its limits, and its state.

Each egress path has a Site of its own, because limits, logins and TLS differ, and so do the results
of its mail. Only the sum of their use is common (`delivery.sites.total`). No I/O; the clock is an
argument.

Waiting bulk mail makes way for transactional mail, and transactional mail that was put off comes
back behind transactional mail only (`delivery.sites.waiting`). A site whose hosts cannot be reached
is down for a while (`delivery.sites.downtime`).

A site's mail must not hold up other mail. So a room holds only what the site takes within a few
seconds, by its pace. A site that does not move gets a share of a part of the places. Large mail
takes several places; a single record is always let in.

A record without a place is parked: put off until its turn, estimated from the pace and the length
of the line. While mail is parked, the free places belong to what came first. Parking costs as much
as accepting mail, so it is avoided for fast sites, whose backlog stays in the stream while their
lane is not read.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from postroad.delivery.sites.concurrency import Concurrency
from postroad.delivery.sites.downtime import Downtime
from postroad.delivery.sites.limits import SiteLimiter
from postroad.delivery.sites.pace import QUICK, Pace
from postroad.delivery.sites.shares import Shares, may_wait, recallable, until_turn
from postroad.delivery.sites.total import SiteTotal
from postroad.delivery.sites.under_way import SiteUnderWay
from postroad.delivery.sites.waiting import SiteLines, WaitingRecord
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import SiteLimits, Smarthost
from postroad.spool.lanes.owners import LaneKey

_UNKNOWN_RATE = 10.0  # messages a second, of a site whose rate is unknown
_SOON, _STILL = 5.0, 4.0  # seconds, and a multiple of the time for which a site has stood still


@dataclass(slots=True, eq=False)
class Site:
    """One site in this process, for the mail of the egress path `relay`."""

    relay: str
    limiter: SiteLimiter
    shares: Shares
    total: "SiteTotal[Site]"
    hosts: tuple[Smarthost, ...] = ()  # empty if they come from the DNS
    hosts_in_use: tuple[Smarthost, ...] = ()  # smarthosts to which connections may be in use
    lane_key: LaneKey | None = None  # of its last mail
    is_left: bool = False  # whether its lane has gone to another process since
    heir: "Site | None" = None  # a site that counts our connections too, as it has the same hosts
    lines: SiteLines = field(default_factory=SiteLines)
    concurrency: Concurrency = field(default_factory=Concurrency)
    pace: Pace = field(default_factory=Pace)
    downtime: Downtime = field(default_factory=Downtime)
    timer: float = math.inf  # when to start connections again
    under_way: SiteUnderWay = field(init=False)
    _counted: SiteLimits | None = None  # the limits counted in the total, while there is mail

    def __post_init__(self) -> None:
        self.under_way = SiteUnderWay(self.shares.under_way)

    @property
    def name(self) -> str:
        """The site's name, which is the same for all egress paths to it."""
        return self.total.name

    @property
    def key(self) -> tuple[str, str]:
        """The key of the site in this process."""
        return self.name, self.relay

    def adopt(self, limits: SiteLimits) -> None:
        """Change the limits."""
        self.limiter.adopt(limits)
        if self._counted is not None:
            self.total.leaves(self._counted)
            self._join()

    def _join(self) -> None:
        self._counted = self.limiter.limits
        self.total.joins(self._counted)

    def occupy(self) -> None:
        """Count a connection as used."""
        self.limiter.connections += 1
        self.total.limiter.connections += 1

    def vacate(self) -> None:
        """Count a connection as no longer used."""
        self.limiter.connections -= 1
        self.total.limiter.connections -= 1
        self._leave_if_idle()
        if self.heir is not None:
            self.heir.vacate()

    def _was_emptied(self) -> None:
        """Note that waiting records were removed."""
        if not self.waiting:
            self.pace.waits_no_more()  # otherwise its rate would fall while no mail comes
        self._leave_if_idle()

    def _leave_if_idle(self) -> None:
        if self._counted is not None and self.idle:
            self.total.leaves(self._counted)
            self._counted = None

    @property
    def waiting(self) -> int:
        """How many records wait."""
        return self.lines.count

    @property
    def held(self) -> int:
        """How many places its waiting records and its attempts take."""
        return self.lines.places + self.under_way.places

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self.waiting and not self.limiter.connections

    @property
    def has_slot(self) -> bool:
        """Whether another connection may be used."""
        return self.limiter.has_slot and self.limiter.connections < self.concurrency.window

    @property
    def has_too_many(self) -> bool:
        """Whether more connections are in use than its window or its limits allow."""
        limiter = self.limiter
        return (
            limiter.connections > min(limiter.most, self.concurrency.window)
            or self.total.has_too_many
        )

    def has_place(self, now: float) -> bool:
        """Whether its next record may begin, as far as the places of the process go."""
        own, first = self.under_way.places, self.first()
        young = self.pace.is_young(now, idle=not own)
        places = first.leased.places if first is not None else 0
        return self.shares.under_way.has_place(own, places, moves=self.moves(now), young=young)

    def next_start(self, now: float) -> float:
        """Return when the next message may begin: `now` or later; inf if it needs a slice."""
        start = max(self.limiter.next_start(now), self.total.limiter.next_start(now))
        if start > now and (first := self.first()) and first.leased.record.resume_from:
            return now  # it continues a message that was counted already
        return start

    @property
    def makes_way(self) -> bool:
        """Whether a free connection should go to the mail of another egress path."""
        return self.total.makes_way(self, self.limiter.connections)

    def probes(self, now: float) -> bool:
        """Decide whether the window grows by one because mail waits and nothing ends."""
        if not self.waiting or self.limiter.connections < self.concurrency.window:
            return False
        if not (self.limiter.has_slot and self.total.limiter.has_slot):
            return False
        return self.concurrency.probes(now, self.pace.still(now), self.pace.patience)

    def moves(self, now: float) -> bool:
        """Whether attempts end soon here."""
        return self.pace.moves(now, busy=self.limiter.connections > 0)

    def lasting(self, now: float) -> int:
        """Return how many of its places will not be free soon."""
        if not self.moves(now):
            return self.held
        rate = self.rate(now)
        return max(0, self.lines.places - self._quick(rate)) if rate is not None else 0

    def rate(self, now: float) -> float | None:
        """
        Return how many messages a second the site takes, None if unknown.

        While its message rate holds mail up, this is the message rate. The pace changes too much,
        as all messages of a window may begin at once.
        """
        measured, limit = self.pace.rate(now), self.limiter.limits.message_rate
        if limit is None:
            return measured
        most = limit.count / limit.window.total_seconds()
        if self.limiter.next_start(now) > now:
            return most
        return min(measured, most) if measured is not None else None

    def _quick(self, rate: float) -> int:
        """Return the places of the mail that leaves within QUICK seconds."""
        return int(rate * QUICK * self._each)

    @property
    def _each(self) -> float:
        """How many places a waiting record takes, on average."""
        return self.lines.places / self.waiting if self.waiting else 1.0

    def room(self, now: float) -> int:
        """Return how many places its waiting records may take."""
        if not self.moves(now):
            young = self.pace.is_young(now, idle=not self.held)
            return max(0, self.shares.allowance(self.held, young=young) - self.under_way.places)
        rate = self.rate(now)
        if rate is None:
            return max(1, self.shares.most // 2)
        return min(self.shares.most, max(1, self.shares.fair, self._quick(rate)))

    def free(self, traffic_class: TrafficClass, now: float) -> int:
        """Return how many places are free here for a class; bulk makes way for transactional."""
        return self.room(now) - self.lines.places_before(traffic_class)

    def has_room(
        self, traffic_class: TrafficClass, now: float, *, parked: int = 0, coming: int = 0
    ) -> bool:
        """
        Whether another record of a class may wait here; bulk makes way for transactional.

        `parked` and `coming` are the places of parked mail (`delivery.sites.shares`).
        """
        used = self.lines.places_before(traffic_class)
        return may_wait(self.room(now), used, parked=parked, coming=coming)

    def recalls(self, traffic_class: TrafficClass, now: float) -> tuple[int, int]:
        """
        Return how many places are free for recalled mail, and a few places (`recallable`).

        A site that went down has none until it is reached again.
        """
        if self.downtime.until:
            return 0, 0
        return recallable(self.room(now), self.lines.places_before(traffic_class))

    def surplus(self, now: float) -> list[WaitingRecord]:
        """
        Remove and return the waiting records that exceed the room.

        They came before the pace fell, or before transactional mail to which they make way.
        """
        found = self.lines.surplus(self.room(now))
        self._was_emptied()
        return found

    def add(self, waiting: WaitingRecord, now: float) -> None:
        """Let a record wait."""
        first = self.idle
        if first:
            self.pace.wakes(now)
        if not self.moves(now):
            self.shares.comes(waiting.leased.places, first=first)
        if self._counted is None:
            self._join()
        self.lines.add(waiting)
        self.pace.waits(now)

    def first(self) -> WaitingRecord | None:
        """Return the next record, transactional before bulk, without removing it."""
        return self.lines.first()

    def next(self) -> WaitingRecord | None:
        """Remove and return the next record, transactional before bulk; None when none waits."""
        return self.lines.next()

    def empty(self) -> list[WaitingRecord]:
        """Remove and return all waiting records."""
        return self.withdraw(lambda _: True)

    def withdraw(self, leaves: Callable[[WaitingRecord], bool]) -> list[WaitingRecord]:
        """Remove and return the waiting records for which `leaves` is true."""
        leaving = self.lines.withdraw(leaves)
        self._was_emptied()
        return leaving

    def put_back(self, waiting: WaitingRecord) -> None:
        """Put a record back to the front, if its host refused the connection."""
        waiting.refusals += 1
        self.lines.put_back(waiting)

    def take_back(self, waiting: WaitingRecord) -> None:
        """Note that a message that began reached no host, so that it does not count."""
        self.limiter.take_back(waiting.begun)
        self.total.limiter.take_back(waiting.begun)

    def begin(self, waiting: WaitingRecord, now: float) -> None:
        """Note that a message begins, after `next` has removed it."""
        waiting.begun = now
        self.under_way.begins(waiting.leased.places, moves=self.moves(now))
        if not waiting.leased.record.resume_from:
            self.limiter.begin(now)
            self.total.begin(now)
        if not self.waiting:
            self.pace.waits_no_more()

    def ended(
        self, waiting: WaitingRecord, now: float, seconds: float, *, silence: float = 0.0
    ) -> None:
        """Note that an attempt ended, how long it took, and how long its host was silent."""
        self.pace.ends(now, seconds, silence=silence)
        self.leaves(waiting, now)

    def leaves(self, waiting: WaitingRecord, now: float) -> None:
        """Note that a record is no longer in an attempt."""
        self.under_way.ends(waiting.leased.places, moves=self.moves(now))

    def park(
        self, traffic_class: TrafficClass, now: float, *, parked: int, longest: float
    ) -> float:
        """Return the seconds, 1 to `longest`, to put off a record for, behind `parked` others."""
        rate, not_before = self.rate(now), self.limiter.expected_start(now) - now
        if not self.moves(now):  # longer each time
            not_before = max(not_before, self.pace.still(now) if self.held else _SOON)
        if not rate:  # the site may only be slow to start, as with a late greeting
            longest = min(longest, max(_SOON, _STILL * self.pace.still(now)))
        if rate is None:
            rate = self.pace.guess(self.concurrency.window) or _UNKNOWN_RATE
        return until_turn(
            self.lines.before(traffic_class) + parked,
            room=self.room(now) / self._each,
            rate=rate,
            not_before=not_before,
            longest=longest,
        )
