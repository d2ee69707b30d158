"""
How full the queue's storage is, as gauges: ingress refuses mail at 80 % of it.

How much there is, JetStream does not know unless the account is limited: then the operator's
settings say it.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from postroad.operator import metrics
from postroad.operator.jetstream.api import asking
from postroad.queue.metrics import STORAGE_LIMIT, STORAGE_USED
from postroad.spool.errors import SpoolError
from postroad.spool.jetstream.spool import SpoolOptions
from postroad.telemetry.logs import get_logger

EVERY = timedelta(seconds=30)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StorageUse:
    """Octets on all servers together, each copy counted; `limit` is 0 when it is not known."""

    used: int
    limit: int


async def read_storage(options: SpoolOptions, *, capacity: int) -> StorageUse:
    """
    Ask JetStream; `capacity` is what all servers together have, 0 when it is not known.

    Raises SpoolUnavailable.
    """
    async with asking(options) as api:
        said = await api.ask("INFO")
    of_account = int((said.get("limits") or {}).get("max_storage", -1))  # -1: as much as there is
    known = [limit for limit in (capacity, of_account) if limit > 0]
    return StorageUse(int(said.get("storage", 0)), min(known, default=0))


async def look_at_storage(options: SpoolOptions, *, capacity: int) -> None:
    """Show how full it is, until cancelled."""
    while True:
        try:
            found = await read_storage(options, capacity=capacity)
            STORAGE_USED.set(found.used)
            STORAGE_LIMIT.set(found.limit)
        except SpoolError as error:
            metrics.ERRORS.labels("storage").inc()
            log.debug("the storage cannot be looked at", error=str(error))
        await asyncio.sleep(EVERY.total_seconds())
