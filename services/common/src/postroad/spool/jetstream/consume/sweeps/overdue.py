"""
Renews schedules that the server has missed, because storage was full when they came due.

Each process checks the lanes that it owns. It renews what came due before the servers last began to
work without errors, since the server may never fire those schedules.
"""

import asyncio
from datetime import UTC, datetime

from postroad.spool.errors import SpoolError
from postroad.spool.jetstream.cluster.lane_ownership import LaneOwnership
from postroad.spool.jetstream.consume.leased import ConsumerContext
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)


async def renew_overdue(tools: ConsumerContext, lanes: LaneOwnership) -> None:
    """Check the lanes that are owned, again and again, until cancelled."""
    since: datetime | None = None  # how long nothing has been wrong with the servers
    while True:
        await asyncio.sleep(tools.timings.sweep.total_seconds())
        owned, now = lanes.lanes, datetime.now(UTC)
        since = (since or now) if owned else None
        if since is None:
            continue
        try:
            await tools.waiting.renew_overdue(
                owned, since, lambda: datetime.now(UTC), pause=tools.timings.page_pause
            )
        except SpoolError as error:
            since = None
            log.warning("overdue mail could not be looked for", error=str(error))
