"""
Finds pools that have mail but no process of their own.

Relays name the pools, but mail outlives its Relay: a pool that no Relay names any more may have
mail, and deferred mail returns to it days later. Only the subjects of ready mail show that. So one
process of `default` lists them and writes the pools that it found into its session. Every process
reads the same sessions, and derives the owners of lanes from them.

Delivery does this itself, so that mail moves while the operator is away. Who accepts mail may
invent pools, so only a few are served at a time. What lies under a name that no Relay may have is
held (`spool.jetstream.consume.poison.strays`).
"""

import asyncio
from datetime import timedelta

from postroad.spool.errors import SpoolError
from postroad.spool.jetstream.browse import JetStreamBrowser
from postroad.spool.jetstream.cluster.sessions.membership import Membership
from postroad.spool.lanes.owners import finder, in_turn, is_pool_name, unserved_pools
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

# Listing 5,000 subjects of ready mail costs the servers 5 ms, 300,000 cost 2 s. This takes at most
# a twentieth of their time.
_SPACING = 20


class Unserved:
    """Keeps the unserved pools in this process's session up to date."""

    def __init__(
        self, waiting: JetStreamBrowser, membership: Membership, *, every: timedelta
    ) -> None:
        self._waiting = waiting
        self._membership = membership
        self._every = every.total_seconds()
        self._line: dict[str, float | None] = {}

    async def keep(self) -> None:
        """Look for pools while this process has to, first at once, until cancelled."""
        while True:
            if finder(self._membership.seen) == self._membership.session_id:
                await asyncio.sleep(await self._look())
            else:
                await self._membership.set_unserved(())
                await self._membership.changed()

    async def _look(self) -> float:
        """Look, and return the seconds until the next look."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            pools = await self._waiting.ready_pools()
        except SpoolError as error:
            log.debug("pools with mail could not be looked for", error=str(error))
        else:
            named = [pool for pool in pools if is_pool_name(pool)]
            found = unserved_pools(named, self._membership.seen)
            self._line = in_turn(self._line, found, began)
            served = tuple(each for each in found if self._line[each] is not None)
            await self._membership.set_unserved(served)
        return max(self._every, _SPACING * (loop.time() - began))
