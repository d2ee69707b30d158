"""
The total use of one site by all egress paths. No I/O; the clock is an argument.

Each egress path keeps its own limits at a site. All that send there at the same time together keep
the largest of their limits, so that a site does not get more because many Relays send to it. An
egress path without room waits in line; one that uses more than an even part makes way between two
messages.

If the egress paths belong to several pools, and so to several processes, the site is *shared*: this
process uses only the portion that it has leased (`delivery.sharing.claims`). The limits of the
others are known from their claims, a moment late. So a lower rate from an edit applies at once, and
a higher one only after the next lease.

Messages to MX hosts begin only from leased slices of the total's rate, also if the site is not
shared, because the next owner of its lane has to continue the window. The smarthosts of an egress
path are its own, so the window of that path is enough.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from postroad.delivery.sites.limits import SiteLimiter
from postroad.policy.limits.portions import largest, slower
from postroad.policy.limits.slices import Slice
from postroad.policy.model import Rate, SiteLimits

Member = TypeVar("Member")


@dataclass(slots=True, eq=False)
class SiteTotal(Generic[Member]):
    """The total use of a site by its members, the egress paths that send to it."""

    name: str
    by_mx: bool = True  # whether it has MX hosts, not the smarthosts of one egress path
    limiter: SiteLimiter = field(default_factory=lambda: SiteLimiter(SiteLimits()))
    members: int = 0  # all known members, also those that send nothing now
    own: SiteLimits = field(default_factory=SiteLimits)  # the largest limits of the members
    outdated: bool = False  # whether `own` was edited, and nothing was sent since
    since: int = 0  # the configuration by which the site is shared
    ends: bool = False  # whether only one pool sends there by that configuration
    claimed_as: str = ""  # the name of the record with the connections that processes claim
    former: tuple[Slice, ...] | None = None  # of a shared site: what others have begun, by the disk
    former_losses: int = 0  # how often records in memory had been lost when `former` was right
    _leased: SiteLimits | None = None  # of a shared site: what this process may use
    _agreed: SiteLimits | None = None  # `own` at the time of the lease
    _sending: Counter[SiteLimits] = field(default_factory=Counter)
    _line: dict[Member, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.limiter.leased = self.by_mx
        self.claimed_as = self.claimed_as or self.name

    def joins(self, limits: SiteLimits) -> None:
        """Note that a member with these limits begins to send."""
        self.outdated = False
        self._sending[limits] += 1
        self._adopt()

    def leaves(self, limits: SiteLimits) -> None:
        """Note that a member with these limits has nothing more to send, or gets other limits."""
        self._sending[limits] -= 1
        if not self._sending[limits]:
            del self._sending[limits]
        self._adopt()

    def outdate(self) -> None:
        """Note that a member's limits were edited; if no member sends, `own` is outdated."""
        self.outdated = not self.sends

    def begin(self, now: float) -> None:
        """Note that a message begins; it also counts for our own rate, which may soon apply."""
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

    def share(self, since: int, *, ends: bool) -> None:
        """
        Use only what is leased from now on: by the configuration `since` the site is shared.

        With `ends`, only one pool sends there by that configuration, and other processes may still
        have connections in use.
        """
        self.since, self.ends = since, ends
        if not self.is_shared:
            self._lease_slices(always=True)
            self.lease(0, self.own.message_rate)

    def unshare(self) -> None:
        """Use its own limits from now on."""
        self._lease_slices(always=False)
        self._leased, self.ends = None, False
        self._adopt()

    def _lease_slices(self, *, always: bool) -> None:
        """Drop what is known from the record until now, because another one applies."""
        self.limiter.leased = always or self.by_mx
        self.limiter.lease(0, 0.0)
        self.former = None

    def lease(self, connections: int, rate: Rate | None) -> None:
        """Set the leased portion of the site's connections, and the rate of all processes."""
        self._leased = SiteLimits(connections=connections, message_rate=rate)
        self._agreed = self.own
        self._adopt()

    @property
    def has_too_many(self) -> bool:
        """Whether more connections are in use than allowed."""
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
        """Add a member without room to the line."""
        self._line.setdefault(member)

    def line(self) -> list[Member]:
        """Remove and return the waiting members, the first in line first."""
        waiting = list(self._line)
        self._line.clear()
        return waiting

    def makes_way(self, member: Member, connections: int) -> bool:
        """Whether a member with so many connections must give one up to another member."""
        if not self._line or (len(self._line) == 1 and member in self._line):
            return False
        limits = self.limiter.limits
        return limits.message_rate is not None or (
            connections > limits.connections // self._sending.total()
        )
