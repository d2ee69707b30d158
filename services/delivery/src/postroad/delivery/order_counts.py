"""
How many records this process has changed by each order, told to whoever gave it.

A record is counted when the queue has acknowledged the change: what waits as it is claimed, what is
bounced or deleted as it ends. So none is counted twice, whoever is killed, but one that two
processes end at the same moment, as one of them stood still past its lease. What a process had not
told yet is not counted any more if it is killed: to have that exact, each change would take a
second record in the queue. What a process of this name told before it was started again is added
to.
"""

import asyncio

from postroad.spool.agreement import Orders
from postroad.spool.errors import SpoolError
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_TELLS_EVERY = 0.2  # seconds: a person watches


class OrderCounts:
    """The counts of one process."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._untold: set[str] = set()
        self._news = asyncio.Event()

    def add(self, order_id: str) -> None:
        """Count a record that an order has changed."""
        self._numbers[order_id] = self._numbers.get(order_id, 0) + 1
        self._untold.add(order_id)
        self._news.set()

    async def run(self, orders: Orders, process: str) -> None:
        """Tell what changes, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            for order_id in list(self._untold):
                try:
                    await self._tell(order_id, orders, process)
                except SpoolError as error:
                    log.debug("what an order did is told later", error=str(error))
                    self._news.set()
            await asyncio.sleep(_TELLS_EVERY)

    async def _tell(self, order_id: str, orders: Orders, process: str) -> None:
        if order_id not in self._before:
            self._before[order_id] = (await orders.reports(order_id)).get(process, 0)
        number = self._numbers[order_id]
        await orders.report(order_id, process, self._before[order_id] + number)
        if number == self._numbers[order_id]:
            self._untold.discard(order_id)
        else:
            self._news.set()
