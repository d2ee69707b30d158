"""
One site as the mail of one egress path meets it: its waiting room, its limits, and whether it is
up.

What a Relay's mail meets there says nothing about another's: their limits, logins and demands
differ, and so does what they do to a host. Only the sum of what they use is theirs together
(`delivery.sites.total`). No I/O; the clock is an argument.

Bulk mail that waits makes way for express, and express that is put off comes back behind express
alone (`delivery.sites.waiting`). A site whose hosts cannot be reached is down for a while
(`delivery.sites.downtime`).

A site's mail must not keep other mail waiting, so a room holds what the site takes in a few
seconds, by its pace; a site that does not move has its share of a part of the places, and no more.
Large mail takes several places. One record is let in, whatever it takes.
What finds no place is parked: put off until, by pace and the length of the line, it will be its
turn. That costs as much as accepting it did, so a site that is fast enough never comes to it: its
backlog is left in the stream, where its lane is not pulled for a moment.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from postroad.delivery.sites.concurrency import Concurrency
from postroad.delivery.sites.downtime import Downtime
from postroad.delivery.sites.limits import SiteLimiter
from postroad.delivery.sites.pace import QUICK, Pace
from postroad.delivery.sites.shares import Shares
from postroad.delivery.sites.total import SiteTotal
from postroad.delivery.sites.waiting import SiteLines, WaitingRecord
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import SiteLimits, Smarthost

_SHORTEST_PARK = 1.0  # seconds
_UNKNOWN_RATE = 10.0  # messages per second, of a site that has not been seen at work
_LEAST_RATE = 0.5  # messages per second: one that stands still may move again
_SOON, _STILL = 5.0, 4.0  # seconds, and so many times what a site has stood still


@dataclass(slots=True, eq=False)
class Site:
    """What is known of one site in this process, by the mail of the egress path `relay`."""

    relay: str
    limiter: SiteLimiter
    shares: Shares
    total: "SiteTotal[Site]"
    hosts: tuple[Smarthost, ...] = ()  # none where they are found in the DNS
    hosts_in_use: tuple[Smarthost, ...] = ()  # that connections in use may be at
    lane: str = ""  # of its mail, as that came last
    is_left: bool = False  # whether its lane went to another process since
    heir: "Site | None" = None  # that counts our connections too, as they are at its hosts
    lines: SiteLines = field(default_factory=SiteLines)
    concurrency: Concurrency = field(default_factory=Concurrency)
    pace: Pace = field(default_factory=Pace)
    downtime: Downtime = field(default_factory=Downtime)
    timer: float = math.inf  # when it is to be looked at again
    _under_way: int = 0  # places of what was begun
    _counted: SiteLimits | None = None  # in the total, while there is mail

    @property
    def name(self) -> str:
        """The site's name, which is the same for all egress paths to it."""
        return self.total.name

    @property
    def key(self) -> tuple[str, str]:
        """What names it in this process."""
        return self.name, self.relay

    def adopt(self, limits: SiteLimits) -> None:
        """Go on with other limits."""
        self.limiter.adopt(limits)
        if self._counted is not None:
            self.total.leaves(self._counted)
            self._join()

    def _join(self) -> None:
        self._counted = self.limiter.limits
        self.total.joins(self._counted)

    def occupy(self) -> None:
        """Take down that a connection is used."""
        self.limiter.connections += 1
        self.total.limiter.connections += 1

    def vacate(self) -> None:
        """Take down that a connection is used no more."""
        self.limiter.connections -= 1
        self.total.limiter.connections -= 1
        self._leave_if_idle()
        if self.heir is not None:
            self.heir.vacate()

    def _was_emptied(self) -> None:
        """Take down that records were taken out that were not begun."""
        if not self.waiting:
            self.pace.waits_no_more()  # or it is slower by each second in which nothing comes
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
        """How many places it has for what waits or is under way."""
        return self.lines.places + self._under_way

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
        """Whether more connections are in use than it is seen to bear, or may be."""
        limiter = self.limiter
        return (
            limiter.connections > min(limiter.most, self.concurrency.window)
            or self.total.has_too_many
        )

    def next_start(self, now: float) -> float:
        """Return when the next message may begin: `now`, or later; inf where it needs a slice."""
        start = max(self.limiter.next_start(now), self.total.limiter.next_start(now))
        if start > now and (first := self.first()) and first.leased.record.resume_from:
            return now  # it was counted when it began
        return start

    @property
    def makes_way(self) -> bool:
        """Whether a connection that ended a message goes to another egress path's mail."""
        return self.total.makes_way(self, self.limiter.connections)

    def probes(self, now: float) -> bool:
        """Whether its window grows by one, as mail waits and nothing ends."""
        if not self.waiting or self.limiter.connections < self.concurrency.window:
            return False
        if not (self.limiter.has_slot and self.total.limiter.has_slot):
            return False
        return self.concurrency.probes(now, self.pace.still(now), self.pace.patience)

    def moves(self, now: float) -> bool:
        """Whether attempts end soon here."""
        return self.pace.moves(now, busy=self.limiter.connections > 0)

    def is_hurried(self, now: float) -> bool:
        """Whether its hosts are given less time than usual, as others need the places."""
        return self.shares.is_scarce and not self.moves(now)

    def lasting(self, now: float) -> int:
        """Return how many of the places it has will not be free soon."""
        if not self.moves(now):
            return self.held
        rate = self.pace.rate(now)
        return max(0, self.lines.places - self._quick(rate)) if rate is not None else 0

    def _quick(self, rate: float) -> int:
        """Return how many places that mail takes which leaves within seconds."""
        each = self.lines.places / self.waiting if self.waiting else 1.0
        return int(rate * QUICK * each)

    def room(self, now: float) -> int:
        """Return how many places what waits here may take."""
        if not self.moves(now):
            held = self.held
            young = self.pace.is_young(now, idle=not held)
            return max(0, self.shares.allowance(held, young=young) - self._under_way)
        rate = self.pace.rate(now)
        if rate is None:
            return max(1, self.shares.most // 2)
        return min(self.shares.most, max(1, self.shares.fair, self._quick(rate)))

    def lacks(self, now: float, coming: int) -> int:
        """
        Return how many places are free for mail that was put off, when half of the room is.

        Of the other half places are left for what is `coming` by itself soon. None are at a site
        that went down, before it was reached again.
        """
        room, used = self.room(now), self.lines.places
        half = (room + 1) // 2
        if self.downtime.until or used >= half:
            return 0
        return max(half, room - coming) - used

    def has_room(self, traffic_class: TrafficClass, now: float) -> bool:
        """Whether another record of a class may wait here: bulk makes way for express."""
        return self.lines.places_before(traffic_class) < self.room(now)

    def surplus(self, now: float) -> list[WaitingRecord]:
        """
        Take out, and return, what waits beyond the room.

        It was let in before the pace fell, or before express mail came that it makes way for.
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
        """Return the record that is next, express before bulk, without taking it out."""
        return self.lines.first()

    def next(self) -> WaitingRecord | None:
        """Take out the record that is next, express before bulk; None when none waits."""
        return self.lines.next(self.shares.least // 2)

    def empty(self) -> list[WaitingRecord]:
        """Take out, and return, all that waits."""
        return self.withdraw(lambda _: True)

    def withdraw(self, leaves: Callable[[WaitingRecord], bool]) -> list[WaitingRecord]:
        """Take out, and return, what waits and is to leave."""
        leaving = self.lines.withdraw(leaves)
        self._was_emptied()
        return leaving

    def put_back(self, waiting: WaitingRecord) -> None:
        """Let a record wait again, before all others, that was not even begun at the host."""
        waiting.refusals += 1
        self.lines.put_back(waiting)

    def take_back(self, waiting: WaitingRecord) -> None:
        """Take down that a message that was to begin was begun at no host."""
        self.limiter.take_back(waiting.begun)
        self.total.limiter.take_back(waiting.begun)

    def begin(self, waiting: WaitingRecord, now: float) -> None:
        """Take down that a message begins, after `next` has taken it out."""
        waiting.begun = now
        self._under_way += waiting.leased.places
        if not waiting.leased.record.resume_from:
            self.limiter.begin(now)
            self.total.begin(now)
        if not self.waiting:
            self.pace.waits_no_more()

    def ended(self, waiting: WaitingRecord, now: float, seconds: float) -> None:
        """Take down that an attempt here ended, and how long it took."""
        self.leaves(waiting)
        self.pace.ends(now, seconds)

    def leaves(self, waiting: WaitingRecord) -> None:
        """Take down that a record is under way no more that was begun."""
        self._under_way -= waiting.leased.places

    def park(self, traffic_class: TrafficClass, now: float, *, longest: float) -> float:
        """
        Return for how many seconds a record that finds no room is put off: until its turn.

        For no more than `longest`, but for a second at least.
        """
        line = self.lines.of(traffic_class)
        rate = self.pace.rate(now)
        if not rate:  # it may only be getting under way, as behind a greeting that is late
            longest = min(longest, max(_SOON, _STILL * self.pace.still(now)))
        if rate is None:
            rate = self.pace.guess(self.concurrency.window) or _UNKNOWN_RATE
        gap = 1 / max(rate, _LEAST_RATE)
        wait = line.park(now, before=self.lines.before(line), gap=gap, longest=longest)
        return max(wait, _SHORTEST_PARK)

    def may_be_forgotten(self, now: float) -> bool:
        """Whether nothing would come of forgetting it but that its pace is not known."""
        if not self.idle or self.downtime.lasts(now):
            return False
        return not self.limiter.remembers(now) and not self.total.limiter.remembers(now)
