"""
How much there is to deliver, for who scales delivery: at /backlog, and as gauges.

Counted every few seconds by every operator, also by those that stand by: who asks does not choose
which one answers. The gauges are shown by the one that leads, so that their sum is what there is.
An answer older than half a minute is none.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta

from postroad.mail.traffic import TrafficClass
from postroad.operator import metrics
from postroad.runtime.logs import get_logger
from postroad.spool.errors import SpoolError
from postroad.spool.interface import Backlog, Spool

EVERY = timedelta(seconds=5)
_GOOD_FOR = timedelta(seconds=30)

log = get_logger("operator.backlog")


class BacklogCounts:
    """
    The counts as of the last look.

    `pools` are told of even when nothing is in them: whoever scales one would take a number that is
    missing for an error, and leave it as large as it is. `leading` says whether to show gauges.
    """

    def __init__(self, pools: Collection[str], leading: Callable[[], bool]) -> None:
        self._told = dict.fromkeys(("default", *pools), 0)
        self._leading = leading
        self._loop = asyncio.get_running_loop()
        self._last: Backlog | None = None
        self._counted = float("-inf")
        self._pools: set[str] = set()

    async def run(self, spool: Spool) -> None:
        """Count until cancelled."""
        while True:
            try:
                self._last = await spool.waiting.backlog()
                self._counted = self._loop.time()
                if self._leading():
                    self._show(self._last)
            except SpoolError as error:
                metrics.ERRORS.labels("backlog").inc()
                log.debug("the queue cannot be counted", error=str(error))
            await asyncio.sleep(EVERY.total_seconds())

    def page(self) -> tuple[int, object]:
        """Return the answer to /backlog."""
        if self._last is None or self._loop.time() - self._counted > _GOOD_FOR.total_seconds():
            return 503, {"error": "the queue has not been counted lately"}
        return 200, as_json(self._last, self._told)

    def _show(self, backlog: Backlog) -> None:
        metrics.QUEUE_READY.labels("express").set(_of_class(backlog, TrafficClass.EXPRESS))
        metrics.QUEUE_READY.labels("bulk").set(_of_class(backlog, TrafficClass.BULK))
        metrics.QUEUE_WAITING.labels("scheduled").set(backlog.scheduled)
        metrics.QUEUE_WAITING.labels("held").set(backlog.held)
        pools = _by_pool(backlog)
        self._pools |= pools.keys()
        for pool in self._pools:
            metrics.QUEUE_POOL_READY.labels(pool).set(pools.get(pool, 0))


def as_json(backlog: Backlog, pools: Mapping[str, int]) -> dict[str, object]:
    """Return a backlog as /backlog tells it."""
    express = _of_class(backlog, TrafficClass.EXPRESS)
    bulk = _of_class(backlog, TrafficClass.BULK)
    return {
        "ready": express + bulk,
        "readyExpress": express,
        "readyBulk": bulk,
        "pools": {**pools, **_by_pool(backlog)},
    }


def _of_class(backlog: Backlog, of: TrafficClass) -> int:
    return sum(count for (_, its), count in backlog.ready.items() if its is of)


def _by_pool(backlog: Backlog) -> dict[str, int]:
    pools: dict[str, int] = {}
    for (pool, _), count in sorted(backlog.ready.items()):
        pools[pool] = pools.get(pool, 0) + count
    return pools
