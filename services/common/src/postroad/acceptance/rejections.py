"""
Limits the refusals of one network, over all its sessions and in the whole cluster.

A client can avoid the limit of a session by opening another one. So refusals with 550 are also
counted by network (IPv6 by /64). Over the limit, each further refusal ends its session, until the
window ends. Nothing else is refused because of it: an honest server may have a bad list.

Each process reports a slice of refusals at a time to the cluster, and learns whether the limit is
reached. Further refusals of that network wait for the answer. So the limit is exceeded by less than
a slice in each other process, and by one refusal in each open session.
"""

import asyncio
from datetime import UTC, datetime

from postroad.acceptance.counts.shared import SharedCounts
from postroad.acceptance.counts.windows import SharedCount, WindowCounts
from postroad.mail.ip_address import Address
from postroad.telemetry.log_limit import network_of

_MOST = 10_000  # networks remembered
_SLICES = 20  # in a limit: a process reports one at a time


class Rejections:
    """The refusals of each network, as far as this process knows."""

    def __init__(self, limit: int, shared: SharedCounts) -> None:
        self._limit = limit
        self._slice = max(1, limit // _SLICES)
        self._counts = WindowCounts(_MOST)
        self._told = WindowCounts(_MOST)  # the part of those counts that the cluster knows
        self._telling: dict[str, asyncio.Event] = {}
        self._shared = shared

    async def too_many(self, address: Address) -> bool:
        """Count one, and return whether that is over the limit."""
        network = network_of(address)
        while (telling := self._telling.get(network)) is not None:
            await telling.wait()
        now = datetime.now(UTC)
        count = self._counts.add(network, now)
        if count > self._limit:
            return True
        if count % self._slice or not self._shared.may_count():
            return False
        telling = self._telling[network] = asyncio.Event()
        try:
            return await self._used_up(network, count, now)
        finally:
            del self._telling[network]
            telling.set()

    async def _used_up(self, network: str, count: int, now: datetime) -> bool:
        """Report new refusals to the cluster; return whether the limit is exceeded."""
        untold = count - self._told.of(network, now)
        everywhere = SharedCount.of("rejections.network", network, self._limit, now)
        granted = await self._shared.take(everywhere, untold)
        if granted is None:
            return False  # reported with the next slice
        self._told.set(network, count, now)
        if granted == untold:
            return False
        self._counts.set(network, self._limit + 1, now)
        return True
