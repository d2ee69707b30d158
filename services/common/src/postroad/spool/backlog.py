"""The backlog: how much mail waits for delivery, and for how long."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from postroad.mail.traffic import TrafficClass
from postroad.spool.selection import WaitKind


@dataclass(frozen=True, slots=True)
class Tally:
    """A number of records, and when the oldest arrived (None for ready records, if unknown)."""

    number: int
    oldest: datetime | None = None

    def plus(self, other: "Tally") -> "Tally":
        """Return the tally of both together."""
        known = [each for each in (self.oldest, other.oldest) if each is not None]
        return Tally(self.number + other.number, min(known, default=None))


Counts = Mapping[tuple[WaitKind, TrafficClass | None, str], Tally]
"""By kind, class (of ready records), and destination domain."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """
    The numbers of records: ready ones by pool and class, deferred ones and held ones.

    `oldest` is when the oldest record of each kind arrived. With thousands of deferred records it
    is that of the record stored first, because finding the oldest would mean reading the queue.
    """

    ready: Mapping[tuple[str, TrafficClass], int]
    deferred: int
    held: int
    oldest: Mapping[WaitKind, datetime] = field(default_factory=dict)

    def of_class(self, of: TrafficClass) -> int:
        """Return how many ready records are of a class."""
        return sum(count for (_, its), count in self.ready.items() if its is of)

    def by_pool(self) -> Mapping[str, int]:
        """Return how many ready records each egress pool has."""
        pools: dict[str, int] = {}
        for (pool, _), count in sorted(self.ready.items()):
            pools[pool] = pools.get(pool, 0) + count
        return pools
