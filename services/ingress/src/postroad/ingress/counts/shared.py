"""
What strangers do, counted for the whole cluster as far as that costs little.

Each count is a synced write in the queue, so there is a bound to how many strangers can cause; what
is beyond it, and all while the queue is out of reach, is counted by each process alone.
"""

import asyncio

from postroad.ingress.counts.windows import SharedCount
from postroad.spool.agreement import QuotaCounters
from postroad.spool.errors import SpoolError
from postroad.telemetry.log_limit import LineLimit
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_AT_ONCE = 100.0  # counts, and so many a second from then on
_PER_SECOND = 20.0
_PATIENCE = 1.0  # seconds


class SharedCounts:
    """Counts of one kind; `told` is what the log says when they are this process's alone."""

    def __init__(self, usage: QuotaCounters, lines: LineLimit, told: str) -> None:
        self._usage = usage
        self._lines = lines
        self._told = told
        self._tokens = _AT_ONCE
        self._filled = 0.0

    def may_count(self) -> bool:
        """Whether something more may be counted for the cluster now; if so, it is to be."""
        now = asyncio.get_running_loop().time()
        grown = self._tokens + (now - self._filled) * _PER_SECOND
        self._tokens, self._filled = min(_AT_ONCE, grown), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def take(self, count: SharedCount, amount: int = 1) -> int | None:
        """Take from what the cluster allows; return how much it had, None when nobody can tell."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._usage.lease(
                    count.key, amount=amount, maximum=count.maximum, expires=count.expires
                )
        except (SpoolError, TimeoutError) as error:
            left_out = self._lines.admit(self._told, "")
            if left_out is not None:
                reason = str(error) or type(error).__name__
                log.warning(self._told, error=reason, left_out=left_out)
            return None
