"""
Decides which sites are shared by several pools, from the pools of the Relays. No I/O.

Relays of several pools may send to one site if they deliver by MX. After an edit, the former pool
of a Relay may still have connections in use. So a site whose pool changed is shared for a while.
If its smarthosts change meanwhile, the sharing begins anew: they may be hosts of an earlier edit,
which the former pool still has connections to.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from postroad.delivery.sites.total import SiteTotal
from postroad.policy.model import EgressPath

# A connection in use for longer than that is claimed again.
LONGEST_CLAIM = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Meeting:
    """
    Several pools share a site since a configuration.

    With `ends`, only one of them sends there by that configuration.
    """

    since: int
    ends: bool
    until: float = float("inf")


class Pools:
    """The pools of all Relays, and where they meet. Times are seconds by a monotonic clock."""

    def __init__(self) -> None:
        self._paths: dict[str, EgressPath] | None = None  # by Relay
        self._by_mx: frozenset[str] = frozenset()
        self._several = False
        self._at_mx: Meeting | None = None
        self._moved: dict[str, Meeting] = {}  # Relays with smarthosts, by name
        self._arrival: Meeting | None = None
        self._generation = 0

    def meeting(self, relay: str, *, by_mx: bool) -> Meeting | None:
        """Return how pools meet at the sites of a Relay, None if they do not."""
        met = self._at_mx if by_mx else self._moved.get(relay)
        return met or self._arrival

    def arrive(self, generation: int, now: float) -> None:
        """
        Let all sites be shared for a while, from the first configuration that is known here.

        Other processes may still use them by an earlier one, which had other pools.
        """
        self._arrival = _ending(generation, now)

    def share(self, total: SiteTotal[Any], relay: str) -> None:
        """Share a Relay's site by leases if another pool sends there, or did before an edit."""
        meeting = self.meeting(relay, by_mx=total.by_mx)
        if meeting is not None:
            total.share(meeting.since, ends=meeting.ends)

    def heed(
        self, egress_paths: Iterable[EgressPath], generation: int, now: float, *, unsure: bool
    ) -> bool:
        """
        Note the pools of a configuration; return whether a meeting begins, or is to end.

        With `unsure` there may be more pools.
        """
        paths = list(egress_paths)
        by_mx = frozenset(path.pool for path in paths if path.by_mx)
        several = unsure or len(by_mx) > 1
        ending = _ending(generation, now)
        before, self._paths = self._paths, {path.name: path for path in paths}
        changes = generation < self._generation
        if changes:
            self._begin_anew(generation)
        self._generation = generation
        if before is not None:
            moved = [path.name for path in paths if self._moves(before.get(path.name, path), path)]
            self._moved.update(dict.fromkeys(moved, ending))
            changes = changes or bool(moved)
        if several != self._several or by_mx != self._by_mx:
            if several and not self._several:
                self._at_mx, changes = Meeting(generation, ends=False), True
            elif not several and before is not None and self._by_mx:
                self._at_mx, changes = ending, True
            self._several, self._by_mx = several, by_mx
        return changes

    def _moves(self, before: EgressPath, now: EgressPath) -> bool:
        if before.pool != now.pool:
            return True
        is_shared = now.name in self._moved or self._arrival is not None
        return is_shared and before.smarthosts != now.smarthosts

    def _begin_anew(self, generation: int) -> None:
        """Let others settle this generation: after a restore of the queue, numbers begin anew."""
        if self._at_mx is not None:
            self._at_mx = replace(self._at_mx, since=generation)
        if self._arrival is not None:
            self._arrival = replace(self._arrival, since=generation)
        self._moved = {name: replace(m, since=generation) for name, m in self._moved.items()}

    def forget(self, now: float) -> None:
        """Forget meetings that have ended."""
        if self._at_mx is not None and now > self._at_mx.until:
            self._at_mx = None
        if self._arrival is not None and now > self._arrival.until:
            self._arrival = None
        self._moved = {name: each for name, each in self._moved.items() if now <= each.until}


def _ending(generation: int, now: float) -> Meeting:
    return Meeting(generation, ends=True, until=now + LONGEST_CLAIM.total_seconds())
