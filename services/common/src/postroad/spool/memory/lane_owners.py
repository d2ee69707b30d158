"""
Lane ownership in the memory spool: a pool's lanes are shared out among its consumers.

Ownership changes at once when a consumer joins or leaves. All consumers own the lanes of a pool
without consumers.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from postroad.spool.lanes.lane import fnv1a32
from postroad.spool.lanes.owners import LaneKey


class LaneOwner(Protocol):
    """A consumer, as seen by the others of its cluster."""

    @property
    def pool(self) -> str:
        """The pool whose lanes it shares."""

    @property
    def lane_keys(self) -> frozenset[LaneKey]:
        """The lanes that it owns now, of each pool from which it takes."""

    @property
    def left_open(self) -> Mapping[str, int]:
        """The connections in use at sites of lanes that it left."""

    def on_left(self, lane_keys: frozenset[LaneKey]) -> None:
        """Note that these lanes now belong to another consumer."""


class LaneOwners:
    """The consumers of a cluster, in the order in which they joined."""

    def __init__(self) -> None:
        self._owners: list[LaneOwner] = []

    def join(self, owner: LaneOwner) -> None:
        """Add a consumer, and tell the others which lanes they have lost."""
        before = [(other, other.lane_keys) for other in self._owners]
        self._owners.append(owner)
        for other, lane_keys in before:
            other.on_left(lane_keys - other.lane_keys)

    def leave(self, owner: LaneOwner) -> None:
        """Remove a consumer."""
        self._owners.remove(owner)

    def owns(self, owner: LaneOwner, pool: str, lane: str) -> bool:
        """Whether a consumer owns a lane of a pool."""
        of_pool = [each for each in self._owners if each.pool == pool]
        return not of_pool or of_pool[fnv1a32(lane) % len(of_pool)] is owner

    def left_open(self, owner: LaneOwner) -> Counter[str]:
        """Return the connections that the other consumers have in use in lanes that they left."""
        counts: Counter[str] = Counter()
        for other in self._owners:
            if other is not owner:
                counts.update(other.left_open)
        return counts
