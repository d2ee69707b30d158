"""
What waits, as another configuration comes into force: it goes on by the objects as they are now.

Mail that waits at a site stays in its room where only limits, TLS, login or sources of its way out
were edited. It leaves where its way out is another one, or gone, or of another pool, or has none of
its smarthosts any more.
"""

import random

from postroad.delivery.routing.way import Ways, same_hosts
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.waiting import Waiting
from postroad.policy.model import Snapshot, Source, WayOut
from postroad.spool.interface import Taken


class Renewal:
    """Ways out of what waits, with the source that each message is sent from."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._dice = random.Random()

    def waiting(self, taken: Taken, way_out: WayOut, snapshot: Snapshot | None) -> Waiting:
        """Return a record as it waits by the way out that it has under a configuration."""
        return Waiting(taken, way_out, snapshot, self._source(way_out))

    def _source(self, way_out: WayOut) -> Source | None:
        sources = way_out.sources
        if not sources:
            return None
        return self._dice.choices(sources, [max(0, source.weight) for source in sources])[0]

    def leave(self, site: Site, snapshot: Snapshot | None) -> list[Waiting]:
        """Take out, and return, what waits no more at a site; let the rest wait as it is to."""
        return site.withdraw(lambda each: not self._renew(each, snapshot))

    def _renew(self, waiting: Waiting, snapshot: Snapshot | None) -> bool:
        """Give what waits its way out as it is now; return whether that is one from its room."""
        before, now = waiting.way_out, self._ways.of(snapshot, waiting.taken.record)
        if now is None or not same_room(before, now):
            return False
        if now.sources != before.sources:
            waiting.source = self._source(now)
        waiting.way_out, waiting.snapshot = now, snapshot
        return True


def same_room(one: WayOut, other: WayOut) -> bool:
    """Whether mail waits in the same rooms by both."""
    if one.name != other.name or one.pool != other.pool:
        return False
    return same_hosts(one.smarthosts, other.smarthosts)
