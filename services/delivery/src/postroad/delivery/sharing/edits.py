"""
Applies the pools of each configuration to the sites of this process, and tells the other processes.
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress

from postroad.delivery.sharing.claims import Sharing
from postroad.delivery.sharing.meetings import Pools
from postroad.delivery.sharing.others import may_use_sites
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.sites import Sites
from postroad.delivery.sites.total import SiteTotal
from postroad.policy.snapshot import Snapshot
from postroad.spool.errors import SpoolError
from postroad.spool.interface import Spool


class PoolEdits:
    """The pools by the configuration that is applied. `share` is for new sites."""

    def __init__(self, spool: Spool, sharing: Sharing) -> None:
        self._spool = spool
        self._sharing = sharing
        self._pools = Pools()
        self._changes = False  # whether pools have changed, and the sites may not know it
        self.share = self._pools.share

    async def begin(self, first: Snapshot | None) -> None:
        """Find out whether others may use sites by a configuration before the first one here."""
        if first is None:
            return
        records, sessions = self._spool.site_records, self._spool.sessions
        if await may_use_sites(records, sessions, first.generation):
            self._pools.arrive(first.generation, asyncio.get_running_loop().time())

    async def tell_first(self) -> None:
        """Tell before mail is taken what is settled, as others may wait for the next edit."""
        with suppress(SpoolError):  # it is told again
            await self._sharing.settled.tell()

    def heed(self, snapshot: Snapshot, sites: Sites) -> Collection[SiteTotal[Site]]:
        """
        Note the pools of a configuration, and share sites by them.

        Return the sites if pools now share sites that they did not share, or no longer do.
        """
        generation, now = snapshot.generation, asyncio.get_running_loop().time()
        paths = [relay.egress_path for relay in snapshot.relays.values()]
        # A Relay that cannot be read may have another pool, and deliver to the same sites.
        self._changes |= self._pools.heed(paths, generation, now, unsure=snapshot.stale)
        changes = self._changes
        if changes:
            sites.share_again()
        totals = sites.totals if changes else ()
        self._sharing.heed(generation, totals, changes=changes)
        self._changes = False
        return list(totals)

    def forget(self, now: float) -> None:
        """Forget meetings that have ended."""
        self._pools.forget(now)
