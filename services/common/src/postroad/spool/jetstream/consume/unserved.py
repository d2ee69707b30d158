"""
Looking for pools that hold mail and have no process of their own.

Pools are known from the Relays, but mail outlives its Relay: a pool that no Relay names any more
may hold mail, and deferred mail comes back to it days later. Only the subjects of ready mail tell.
So one process of `default` looks for all of them, and says in its session what it has found: who
owns which lane follows from the sessions, which every process sees alike.

Delivery looks for itself, not the operator for it: mail is to move on while the operator is away.
"""

import asyncio
from datetime import timedelta

from postroad.spool.errors import SpoolError
from postroad.spool.jetstream.browse import JetStreamBrowser
from postroad.spool.jetstream.cluster.membership import Membership
from postroad.spool.lanes.assignment import finder, unserved_pools
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

# A look lists the subjects of ready mail: 5 ms of the servers' time for 5,000 of them, 2 s for
# 300,000. It takes a twentieth of the time at most.
_SPACING = 20


class Unserved:
    """Keeps the pools that this process's session tells of."""

    def __init__(
        self, waiting: JetStreamBrowser, membership: Membership, *, every: timedelta
    ) -> None:
        self._waiting = waiting
        self._membership = membership
        self._every = every.total_seconds()

    async def keep(self) -> None:
        """Look while it is this process's turn, at once first, until cancelled."""
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
            await self._membership.set_unserved(unserved_pools(pools, self._membership.seen))
        return max(self._every, _SPACING * (loop.time() - began))
