"""
Counts of what strangers do, over the whole cluster, at a bounded cost.

Each count is a synced write in the queue, so their rate is limited: strangers must not be able to
cause as many writes as they like. Each process counts for itself what is over this limit, and
everything while the queue is out of reach.
"""

import asyncio

from postroad.acceptance.counts.windows import SharedCount
from postroad.spool.agreement import QuotaCounters
from postroad.spool.errors import SpoolError
from postroad.telemetry.log_limit import LineLimit
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_AT_ONCE = 100.0  # counts, and so many a second from then on
_PER_SECOND = 20.0
_PATIENCE = 1.0  # seconds


class SharedCounts:
    """Counts of one kind; the log says `told` when the cluster cannot be asked."""

    def __init__(self, usage: QuotaCounters, lines: LineLimit, told: str) -> None:
        self._usage = usage
        self._lines = lines
        self._told = told
        self._tokens = _AT_ONCE
        self._filled = 0.0

    def may_count(self) -> bool:
        """Whether the rate limit allows one more count now; if so, it is taken from the limit."""
        now = asyncio.get_running_loop().time()
        grown = self._tokens + (now - self._filled) * _PER_SECOND
        self._tokens, self._filled = min(_AT_ONCE, grown), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def take(self, count: SharedCount, amount: int = 1) -> int | None:
        """Lease from a count; return how much the cluster granted, None if it cannot be asked."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._usage.lease(
                    count.key,
                    amount=amount,
                    maximum=count.maximum,
                    since=count.since,
                    expires=count.expires,
                )
        except (SpoolError, TimeoutError) as error:
            left_out = self._lines.admit(self._told, "")
            if left_out is not None:
                reason = str(error) or type(error).__name__
                log.warning(self._told, error=reason, left_out=left_out)
            return None
