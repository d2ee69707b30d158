"""
What all egress paths together ask of one site. No I/O; the clock is an argument.

Each egress path keeps its own limits at a site. Those that send there at the same time together
keep the largest of them, so that a site bears no more for being sent to by many Relays. Who finds
no room waits in line; who uses more than an even part makes way between two messages.

Where the egress paths are of several pools, and so of several processes, the site is *shared*: this
process uses the portion that it has leased (`delivery.dispatch.sharing`), and nothing before it has
one. What the others' limits are is known from their claims, a moment late. So a rate that comes in
with an edit is kept at once, and only what is agreed on after that may raise it.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from postroad.delivery.sites.limits import SiteLimiter
from postroad.policy.limits.portions import largest, slower
from postroad.policy.model import Rate, SiteLimits

Member = TypeVar("Member")


@dataclass(slots=True, eq=False)
class SiteTotal(Generic[Member]):
    """The sum of what the members, the egress paths that send to a site, use of it."""

    name: str
    by_mx: bool = True  # whether it is MX hosts, and not the smarthosts of one egress path
    limiter: SiteLimiter = field(default_factory=lambda: SiteLimiter(SiteLimits()))
    members: int = 0  # all that are known, also those that send nothing now
    own: SiteLimits = field(default_factory=SiteLimits)  # the largest of the members'
    outdated: bool = False  # whether `own` was edited, and nothing was sent since
    _leased: SiteLimits | None = None  # of a shared site: what this process may use
    _agreed: SiteLimits | None = None  # what `own` was then
    _sending: Counter[SiteLimits] = field(default_factory=Counter)
    _line: dict[Member, None] = field(default_factory=dict)

    def joins(self, limits: SiteLimits) -> None:
        """A member with these limits begins to send."""
        self.outdated = False
        self._sending[limits] += 1
        self._adopt()

    def leaves(self, limits: SiteLimits) -> None:
        """A member with these limits has nothing more to send, or gets others."""
        self._sending[limits] -= 1
        if not self._sending[limits]:
            del self._sending[limits]
        self._adopt()

    def outdate(self) -> None:
        """A member's limits were edited: where none sends, nobody goes by those before."""
        self.outdated = not self.sends

    def begin(self, now: float) -> None:
        """A message begins. It counts where the rate of all together is about to be our own."""
        self.limiter.begin(now, before=self.own.message_rate)

    def _adopt(self) -> None:
        if self._sending:
            self.own = largest(self._sending)
        limits = self.own
        if self._leased is not None:
            connections, rate = self._leased.connections, self._leased.message_rate
            if self.own != self._agreed:
                rate = slower(rate, self.own.message_rate)
            limits = replace(limits, connections=connections, message_rate=rate)
        self.limiter.adopt(limits)

    @property
    def is_shared(self) -> bool:
        """Whether other pools may send there too."""
        return self._leased is not None

    def share(self) -> None:
        """Use nothing from now on but what is leased."""
        self.limiter.leased = True
        self.lease(0, self.own.message_rate)

    def unshare(self) -> None:
        """Go on with its own limits."""
        self.limiter.leased = False
        self._leased = None
        self._adopt()

    def lease(self, connections: int, rate: Rate | None) -> None:
        """Take down the portion of the site's connections, and the rate of all together."""
        self._leased = SiteLimits(connections=connections, message_rate=rate)
        self._agreed = self.own
        self._adopt()

    @property
    def has_too_many(self) -> bool:
        """Whether more connections are in use than may be."""
        return self.limiter.connections > self.limiter.most

    @property
    def sends(self) -> bool:
        """Whether a member has mail for it."""
        return self._sending.total() > 0

    @property
    def has_line(self) -> bool:
        """Whether a member waits for room."""
        return bool(self._line)

    def waits(self, member: Member) -> None:
        """A member finds no room: it gets in line, unless it stands there."""
        self._line.setdefault(member)

    def line(self) -> list[Member]:
        """Take out, and return, who waits, the longest first."""
        waiting = list(self._line)
        self._line.clear()
        return waiting

    def makes_way(self, member: Member, connections: int) -> bool:
        """Whether a member that uses so many connections gives one up for another one's mail."""
        if not self._line or (len(self._line) == 1 and member in self._line):
            return False
        limits = self.limiter.limits
        return limits.message_rate is not None or (
            connections > limits.connections // self._sending.total()
        )
