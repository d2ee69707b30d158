"""
Applies a new configuration to the records that wait at sites.

A record stays in its waiting room if only limits, TLS, login or sources of its egress path have
changed. It leaves the room if it has another egress path or none, or if the path has another pool
or none of its former smarthosts.
"""

from postroad.delivery.routing.egress_paths import EgressPaths, same_hosts
from postroad.delivery.routing.sources import draw
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.waiting import WaitingRecord
from postroad.policy.model import EgressPath
from postroad.policy.snapshot import Snapshot
from postroad.spool.interface import LeasedRecord


class Renewal:
    """Sets the egress paths and sources of waiting records."""

    def __init__(self, egress_paths: EgressPaths) -> None:
        self._egress_paths = egress_paths

    def waiting(
        self, leased: LeasedRecord, egress_path: EgressPath, snapshot: Snapshot | None
    ) -> WaitingRecord:
        """Return a waiting record with its egress path in a configuration, and a source."""
        return WaitingRecord(leased, egress_path, snapshot, draw(egress_path.sources))

    def leave(self, site: Site, snapshot: Snapshot | None) -> list[WaitingRecord]:
        """Remove and return the records that must leave a site; update the others."""
        return site.withdraw(lambda each: not self._renew(each, snapshot))

    def _renew(self, waiting: WaitingRecord, snapshot: Snapshot | None) -> bool:
        """Update a waiting record's egress path; return whether it stays in its room."""
        before, now = waiting.egress_path, self._egress_paths.of(snapshot, waiting.leased.record)
        if now is None or not same_room(before, now):
            return False
        if now.sources != before.sources:
            waiting.source = draw(now.sources)
        waiting.egress_path, waiting.snapshot = now, snapshot
        return True


def same_room(one: EgressPath, other: EgressPath) -> bool:
    """Whether mail waits in the same rooms with both egress paths."""
    if one.name != other.name or one.pool != other.pool:
        return False
    return same_hosts(one.smarthosts, other.smarthosts)
