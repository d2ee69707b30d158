"""
The amount of queued mail, at /backlog for autoscalers and as gauges.

Every operator counts it every few seconds, also those that stand by, because an autoscaler cannot
choose which operator answers. Only the leading operator shows the gauges, so that their sum is
right. Counts older than half a minute are not returned. `postroad up` uses this module, too.

Each distinct subject costs time: 100,000 of them cost the servers half a second. Who accepts mail
may make any number of them, so after a long count the next one comes later.
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
from postroad.spool.lanes.owners import DEFAULT_POOL
from postroad.telemetry.logs import get_logger

EVERY = timedelta(seconds=5)
_GOOD_FOR = timedelta(seconds=30)
# A count takes at most a twentieth of the servers' time, as in `consume.sweeps.unserved`; but one
# of up to eight seconds ends while the last one is still good.
_SPACING = 20
_LONGEST_PAUSE = timedelta(seconds=20)

log = get_logger(__name__)


class BacklogCounts:
    """
    The latest counts.

    Empty `pools` are counted, too: an autoscaler takes a missing number for an error, and would not
    scale the pool down. `leading` says whether to show gauges.
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
            began = self._loop.time()
            try:
                self._last = await spool.waiting.backlog()
                self._counted = self._loop.time()
                if self._leading():
                    self._gauges.show(self._last, datetime.now(UTC))
            except SpoolError as error:
                metrics.ERRORS.labels("backlog").inc()
                log.debug("the queue cannot be counted", error=str(error))
            await asyncio.sleep(pause_after(self._loop.time() - began))

    def page(self) -> tuple[int, object]:
        """Return the answer to /backlog."""
        if self._last is None or self._loop.time() - self._counted > _GOOD_FOR.total_seconds():
            return 503, {"error": "the queue has not been counted lately"}
        return 200, as_json(self._last, self._told)


def pause_after(took: float) -> float:
    """Return how long to wait after a count that took so long, both in seconds."""
    return max(EVERY.total_seconds(), min(_SPACING * took, _LONGEST_PAUSE.total_seconds()))


def as_json(backlog: Backlog, pools: Mapping[str, int]) -> dict[str, object]:
    """
    Return the answer of /backlog; `pools` are those that have a Deployment.

    Mail of any other pool also counts for `default`, which delivers it. Otherwise `default` would
    not be started for this mail when it is scaled to zero.
    """
    transactional = backlog.of_class(TrafficClass.TRANSACTIONAL)
    bulk = backlog.of_class(TrafficClass.BULK)
    found = backlog.by_pool()
    taken_over = sum(number for pool, number in found.items() if pool not in pools)
    told = {**pools, **found}
    told[DEFAULT_POOL] = told.get(DEFAULT_POOL, 0) + taken_over
    return {
        "ready": transactional + bulk,
        "readyTransactional": transactional,
        "readyBulk": bulk,
        "pools": told,
    }
