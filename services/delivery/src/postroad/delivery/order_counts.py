"""
Counts the records that this process has changed by each order, and reports the counts.

A record is counted when the queue has acknowledged the change: a waiting record when it is claimed,
a bounced or deleted one when it ends. So no record is counted twice when a process is killed. The
exception is a record that two processes end at the same moment, because one of them was blocked
past its lease. Counts that a killed process had not reported are lost; exact counts would need a
second write to the queue for each change. After a restart, a process of the same name adds to its
earlier reports.

The servers may bring back a record that has ended, when storage is full or one of them was killed.
It ends again, but it does not count again, whichever order ends it. A form of a record is known by
its id and its step.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

from postroad.spool.agreement import Orders
from postroad.spool.errors import SpoolError
from postroad.spool.ids import RecordId
from postroad.spool.record import QueueRecord
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_REMEMBERED = 20_000  # changed records, which may come back
_TELLS_EVERY = 0.2  # seconds, since a person is watching


class OrderCounts:
    """The counts of one process."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._untold: set[str] = set()
        self._news = asyncio.Event()
        self._changed: OrderedDict[tuple[RecordId, int], None] = OrderedDict()

    def add(self, record: QueueRecord, order_ids: Iterable[str]) -> None:
        """Count a record, as it was before, that some orders have changed together."""
        form = record.record_id, record.step
        if form in self._changed:
            return
        for order_id in order_ids:
            self._changed[form] = None
            self._numbers[order_id] = self._numbers.get(order_id, 0) + 1
            self._untold.add(order_id)
            self._news.set()
        if len(self._changed) > _REMEMBERED:
            self._changed.popitem(last=False)

    async def run(self, orders: Orders, process: str) -> None:
        """Report changed counts, until cancelled."""
        while True:
            if not self._untold:
                self._news.clear()
                await self._news.wait()
            for order_id in list(self._untold):
                try:
                    await self._tell(order_id, orders, process)
                except SpoolError as error:
                    log.debug("the report on an order is written later", error=str(error))
            await asyncio.sleep(_TELLS_EVERY)

    async def _tell(self, order_id: str, orders: Orders, process: str) -> None:
        if order_id not in self._before:
            self._before[order_id] = (await orders.reports(order_id)).get(process, 0)
        number = self._numbers[order_id]
        await orders.report(order_id, process, self._before[order_id] + number)
        if number == self._numbers[order_id]:
            self._untold.discard(order_id)
