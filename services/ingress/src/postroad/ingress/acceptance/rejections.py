"""
How much one network may have refused, over all its sessions and in the whole cluster.

The limit of a session is no brake to who opens another. So what is refused with 550 counts by
network too (IPv6 by /64). Over the limit each further refusal ends the session it is in, until the
window ends. Nothing else is refused for it: there may be an honest server behind a bad list.
"""

from datetime import UTC, datetime

from postroad.ingress.admission import Address
from postroad.ingress.counts.shared import SharedCounts
from postroad.ingress.counts.windows import SharedCount, WindowCounts
from postroad.telemetry.log_limit import network_of

_MOST = 10_000  # networks remembered
_SLICES = 20  # in a limit: a process tells the others of so much at a time


class Rejections:
    """What was refused to each network, as far as this process knows."""

    def __init__(self, limit: int, shared: SharedCounts) -> None:
        self._limit = limit
        self._slice = max(1, limit // _SLICES)
        self._counts = WindowCounts(_MOST)
        self._shared = shared

    async def too_many(self, address: Address) -> bool:
        """Count one, and return whether that is over the limit."""
        now = datetime.now(UTC)
        network = network_of(address)
        count = self._counts.add(network, now)
        if count > self._limit:
            return True
        if count % self._slice or not self._shared.may_count():
            return False
        everywhere = SharedCount.of("rejections.network", network, self._limit, now)
        granted = await self._shared.take(everywhere, self._slice)
        if granted is None or granted == self._slice:
            return False
        self._counts.set(network, self._limit + 1, now)
        return True
