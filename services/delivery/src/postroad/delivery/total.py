"""
What all ways out together ask of one site. No I/O; the clock is an argument.

Each way out keeps its own limits at a site. Those that send there at the same time together keep
the largest of them, so that a site bears no more for being sent to by many Relays. Who finds no
room waits in line; who uses more than an even part makes way between two messages.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from postroad.delivery.limits import SiteLimiter
from postroad.policy.model import Rate, SiteLimits

Member = TypeVar("Member")


@dataclass(slots=True, eq=False)
class SiteTotal(Generic[Member]):
    """The sum of what the members, the ways out that send to a site, use of it."""

    name: str
    limiter: SiteLimiter = field(default_factory=lambda: SiteLimiter(SiteLimits()))
    members: int = 0  # all that are known, also those that send nothing now
    _sending: Counter[SiteLimits] = field(default_factory=Counter)
    _line: dict[Member, None] = field(default_factory=dict)

    def joins(self, limits: SiteLimits) -> None:
        """A member with these limits begins to send."""
        self._sending[limits] += 1
        self.limiter.adopt(largest(self._sending))

    def leaves(self, limits: SiteLimits) -> None:
        """A member with these limits has nothing more to send, or gets others."""
        self._sending[limits] -= 1
        if not self._sending[limits]:
            del self._sending[limits]
        if self._sending:
            self.limiter.adopt(largest(self._sending))

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


def largest(limits: Counter[SiteLimits]) -> SiteLimits:
    """Return limits that are as large as the largest in each respect."""
    if len(limits) == 1:
        return next(iter(limits))
    rates = [each.message_rate for each in limits]
    return SiteLimits(
        connections=max(each.connections for each in limits),
        messages_per_connection=max(each.messages_per_connection for each in limits),
        message_rate=_highest([rate for rate in rates if rate]) if all(rates) else None,
    )


def _highest(rates: list[Rate]) -> Rate:
    return max(rates, key=lambda rate: rate.count / rate.window.total_seconds())
