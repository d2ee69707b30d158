"""
Operators' orders in KV `cluster`: keys `order.<id>`, and `report.<id>.<process>` for the results.

Every process reads the changes once a second, so an order acts everywhere, also in processes that
start later. The key of an order expires with the order; so do its reports and, if it is withdrawn,
its deletion marker.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.agreement import Order
from postroad.spool.errors import RecordCorrupt, SpoolError
from postroad.spool.jetstream.nats.direct_get import StoredMessage
from postroad.spool.jetstream.nats.key_value import Bucket, is_deletion, text_of, token
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.spool.wire.order import decode_order, encode_order
from postroad.telemetry.logs import get_logger

_ORDER = "order."
_REPORT = "report."
_LOOKS_EVERY = timedelta(seconds=1)
_PATIENCE = timedelta(seconds=20)
_NOTES_LAST = timedelta(days=7)  # life of reports, and of the marker of an unreadable order

log = get_logger(__name__)


class JetStreamOrders:
    """Implements agreement.Orders; `start` before use, `close` after."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._orders: dict[str, Order] = {}
        self._revision = 0
        self._version = 0  # grows with every change that waiters have to see
        self._seen = 0
        self._change = asyncio.Event()
        self._tasks = BackgroundTasks(INTERNAL_ERRORS)

    async def start(self) -> None:
        """Read the orders in force, then keep up with them. Raises SpoolUnavailable."""
        await self._catch_up()
        self._seen = self._version
        self._tasks.keep(self._keep_up)

    async def close(self) -> None:
        """Stop keeping up."""
        await self._tasks.cancel()

    async def place(self, order: Order) -> None:
        """Put an order in force everywhere. Raises SpoolUnavailable."""
        await self._bucket.put_surely(
            _ORDER + token(order.order_id),
            encode_order(order),
            patience=_PATIENCE,
            lifetime=order.until - datetime.now(UTC),
        )
        self._know(order)

    async def withdraw(self, order_id: str) -> bool:
        """End an order early; False when there is none. Raises SpoolUnavailable."""
        key = _ORDER + token(order_id)
        message = await self._bucket.get(key)
        if message is None or is_deletion(message):
            return False
        await self._bucket.remove(key, patience=_PATIENCE, lifetime=_remaining(message))
        self._forget(order_id)
        return True

    def in_force(self, now: datetime) -> Sequence[Order]:
        """Return the orders this process knows to be in force, oldest first."""
        if not self._orders:
            return []  # fast, because this is called for each record and there is rarely an order
        live = [order for order in self._orders.values() if order.until > now]
        return sorted(live, key=lambda order: order.placed)

    async def changed(self) -> None:
        """Wait until an order was placed or withdrawn since the last call returned."""
        seen = self._seen
        while self._version == seen:
            await self._change.wait()
        self._seen = self._version

    async def report(self, order_id: str, process: str, affected: int) -> None:
        """Report how many records this process has changed by an order. Raises SpoolUnavailable."""
        order = self._orders.get(order_id)
        lifetime = order.until - datetime.now(UTC) if order else timedelta(0)
        await self._bucket.put_surely(
            f"{_REPORT}{token(order_id)}.{token(process)}",
            str(affected).encode(),
            patience=_PATIENCE,
            lifetime=max(lifetime, _NOTES_LAST),
        )

    async def reports(self, order_id: str) -> Mapping[str, int]:
        """Return the reports on an order, by process. Raises SpoolUnavailable."""
        told: dict[str, int] = {}
        after = 0
        while True:
            found = await self._bucket.changes(f"{_REPORT}{token(order_id)}.*", after=after)
            for message in found.messages:
                after = message.sequence
                process = text_of(self._bucket.key_of(message).rpartition(".")[2])
                if not is_deletion(message):
                    told[process] = int(message.data)
            if not found.pending:
                return told

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(_LOOKS_EVERY.total_seconds())
            try:
                await self._catch_up()
            except SpoolError as error:
                log.debug("the orders are not read", error=str(error))

    async def _catch_up(self) -> None:
        while True:
            found = await self._bucket.changes(_ORDER + "*", after=self._revision)
            for message in found.messages:
                self._revision = message.sequence
                self._apply(message)
            if not found.pending:
                break
        now = datetime.now(UTC)
        for order in [order for order in self._orders.values() if order.until <= now]:
            del self._orders[order.order_id]

    def _apply(self, message: StoredMessage) -> None:
        order_id = text_of(self._bucket.key_of(message).removeprefix(_ORDER))
        if is_deletion(message):
            self._forget(order_id)
            return
        try:
            order = decode_order(message.data)
            self._know(replace(order, stored=message.stored_at.astimezone(UTC)))
        except RecordCorrupt as error:
            # Perhaps an order of a newer version, which only newer processes can carry out.
            log.warning("an order is left to other processes", order_id=order_id, error=str(error))
            self._forget(order_id)

    def _know(self, order: Order) -> None:
        known = self._orders.get(order.order_id)
        self._orders[order.order_id] = order
        if known != order:
            self._ring()

    def _forget(self, order_id: str) -> None:
        if self._orders.pop(order_id, None) is not None:
            self._ring()

    def _ring(self) -> None:
        self._version += 1
        self._change.set()
        self._change = asyncio.Event()


def _remaining(message: StoredMessage) -> timedelta:
    """Return how long the deletion marker of an order is needed: as long as the order."""
    try:
        until = decode_order(message.data).until
    except RecordCorrupt:
        return _NOTES_LAST
    return until - datetime.now(UTC) + timedelta(minutes=1)
