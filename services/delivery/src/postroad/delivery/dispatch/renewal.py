"""
What waits, as another configuration comes into force: it goes on by the objects as they are now.

Mail that waits at a site stays in its room where only limits, TLS, login or sources of its egress
path were edited. It leaves where its egress path is another one, or gone, or of another pool, or
has none of its smarthosts any more.
"""

from postroad.delivery.routing.egress_paths import EgressPaths, same_hosts
from postroad.delivery.routing.sources import draw
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.waiting import WaitingRecord
from postroad.policy.model import EgressPath
from postroad.policy.snapshot import Snapshot
from postroad.spool.interface import LeasedRecord


class Renewal:
    """Egress paths of what waits, with the source that each message is sent from."""

    def __init__(self, egress_paths: EgressPaths) -> None:
        self._egress_paths = egress_paths

    def waiting(
        self, leased: LeasedRecord, egress_path: EgressPath, snapshot: Snapshot | None
    ) -> WaitingRecord:
        """Return a record as it waits by the egress path that it has under a configuration."""
        return WaitingRecord(leased, egress_path, snapshot, draw(egress_path.sources))

    def leave(self, site: Site, snapshot: Snapshot | None) -> list[WaitingRecord]:
        """Take out, and return, what waits no more at a site; let the rest wait as it is to."""
        return site.withdraw(lambda each: not self._renew(each, snapshot))

    def _renew(self, waiting: WaitingRecord, snapshot: Snapshot | None) -> bool:
        """Give what waits its egress path as it is now; return whether it stays in its room."""
        before, now = waiting.egress_path, self._egress_paths.of(snapshot, waiting.leased.record)
        if now is None or not same_room(before, now):
            return False
        if now.sources != before.sources:
            waiting.source = draw(now.sources)
        waiting.egress_path, waiting.snapshot = now, snapshot
        return True


def same_room(one: EgressPath, other: EgressPath) -> bool:
    """Whether mail waits in the same rooms by both."""
    if one.name != other.name or one.pool != other.pool:
        return False
    return same_hosts(one.smarthosts, other.smarthosts)
