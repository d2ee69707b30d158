"""
How much there is to deliver, for who scales delivery: at /backlog, and as gauges.

Counted every few seconds by every operator, also by those that stand by: who asks does not choose
which one answers. The gauges are shown by the one that leads, so that their sum is what there is.
An answer older than half a minute is none. `postroad up` counts in the same way.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta

from postroad.mail.traffic import TrafficClass
from postroad.operator import metrics
from postroad.queue.metrics import BacklogGauges
from postroad.spool.backlog import Backlog
from postroad.spool.errors import SpoolError
from postroad.spool.interface import Spool
from postroad.spool.lanes.assignment import DEFAULT_POOL
from postroad.telemetry.logs import get_logger

EVERY = timedelta(seconds=5)
_GOOD_FOR = timedelta(seconds=30)

log = get_logger(__name__)


class BacklogCounts:
    """
    The counts as of the last look.

    `pools` are told of even when nothing is in them: whoever scales one would take a number that is
    missing for an error, and leave it as large as it is. `leading` says whether to show gauges.
    """

    def __init__(self, pools: Collection[str], leading: Callable[[], bool]) -> None:
        self._told = dict.fromkeys((DEFAULT_POOL, *pools), 0)
        self._leading = leading
        self._gauges = BacklogGauges()
        self._loop = asyncio.get_running_loop()
        self._last: Backlog | None = None
        self._counted = float("-inf")

    async def run(self, spool: Spool) -> None:
        """Count until cancelled."""
        while True:
            try:
                self._last = await spool.waiting.backlog()
                self._counted = self._loop.time()
                if self._leading():
                    self._gauges.show(self._last, datetime.now(UTC))
            except SpoolError as error:
                metrics.ERRORS.labels("backlog").inc()
                log.debug("the queue cannot be counted", error=str(error))
            await asyncio.sleep(EVERY.total_seconds())

    def page(self) -> tuple[int, object]:
        """Return the answer to /backlog."""
        if self._last is None or self._loop.time() - self._counted > _GOOD_FOR.total_seconds():
            return 503, {"error": "the queue has not been counted lately"}
        return 200, as_json(self._last, self._told)


def as_json(backlog: Backlog, pools: Mapping[str, int]) -> dict[str, object]:
    """
    Return a backlog as /backlog tells it, where `pools` are those that have a Deployment.

    The mail of any other pool counts as that of `default` too, which takes it over: scaled to
    nothing, it would never start for it.
    """
    express = backlog.of_class(TrafficClass.EXPRESS)
    bulk = backlog.of_class(TrafficClass.BULK)
    found = backlog.by_pool()
    taken_over = sum(number for pool, number in found.items() if pool not in pools)
    told = {**pools, **found}
    told[DEFAULT_POOL] = told.get(DEFAULT_POOL, 0) + taken_over
    return {"ready": express + bulk, "readyExpress": express, "readyBulk": bulk, "pools": told}
