"""
Gauges of how full the queue's storage is: ingress refuses mail at 80 % of it.

JetStream knows the limit only if the account has one. Otherwise the operator's settings give it.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from postroad.operator import metrics
from postroad.operator.jetstream.api import asking
from postroad.queue.metrics import STORAGE_LIMIT, STORAGE_USED
from postroad.spool.errors import SpoolError
from postroad.spool.jetstream.options import SpoolOptions
from postroad.telemetry.logs import get_logger

EVERY = timedelta(seconds=30)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StorageUse:
    """Octets on all servers together, counting each copy; `limit` is 0 if it is not known."""

    used: int
    limit: int


async def read_storage(options: SpoolOptions, *, capacity: int) -> StorageUse:
    """
    Ask JetStream; `capacity` is that of all servers together, 0 if it is not known.

    Raises SpoolUnavailable.
    """
    async with asking(options) as api:
        said = await api.ask("INFO")
    of_account = int((said.get("limits") or {}).get("max_storage", -1))  # -1: unlimited
    known = [limit for limit in (capacity, of_account) if limit > 0]
    return StorageUse(int(said.get("storage", 0)), min(known, default=0))


async def look_at_storage(options: SpoolOptions, *, capacity: int) -> None:
    """Update the gauges at intervals, until cancelled."""
    while True:
        try:
            found = await read_storage(options, capacity=capacity)
            STORAGE_USED.set(found.used)
            STORAGE_LIMIT.set(found.limit)
        except SpoolError as error:
            metrics.ERRORS.labels("storage").inc()
            log.debug("the storage cannot be looked at", error=str(error))
        await asyncio.sleep(EVERY.total_seconds())
