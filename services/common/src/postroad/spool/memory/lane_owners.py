"""
Who owns which lane in memory: a pool's lanes are shared out evenly among its consumers.

Ownership changes at once, as a consumer joins or leaves. A pool without consumers is everybody's.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from postroad.spool.lanes.lane import fnv1a32


class LaneOwner(Protocol):
    """A consumer, as the others of its cluster see it."""

    @property
    def pool(self) -> str:
        """The pool whose lanes it shares."""

    @property
    def lanes(self) -> frozenset[str]:
        """The lanes that are its own now, of whatever pool."""

    @property
    def left_open(self) -> Mapping[str, int]:
        """The connections in use where lanes were left."""

    def on_left(self, lanes: frozenset[str]) -> None:
        """Take note that these lanes are another's by now."""


class LaneOwners:
    """The consumers of a cluster, in the order in which they joined."""

    def __init__(self) -> None:
        self._owners: list[LaneOwner] = []

    def join(self, owner: LaneOwner) -> None:
        """Share the lanes out anew, with one more; tell the others which they have lost."""
        before = [(other, other.lanes) for other in self._owners]
        self._owners.append(owner)
        for other, lanes in before:
            other.on_left(lanes - other.lanes)

    def leave(self, owner: LaneOwner) -> None:
        """Share the lanes out anew, with one less."""
        self._owners.remove(owner)

    def owns(self, owner: LaneOwner, pool: str, lane: str) -> bool:
        """Whether a lane of a pool is this one's."""
        of_pool = [each for each in self._owners if each.pool == pool]
        return not of_pool or of_pool[fnv1a32(lane) % len(of_pool)] is owner

    def left_open(self, owner: LaneOwner) -> Counter[str]:
        """Return the connections that all but this one have in use where lanes were left."""
        counts: Counter[str] = Counter()
        for other in self._owners:
            if other is not owner:
                counts.update(other.left_open)
        return counts
