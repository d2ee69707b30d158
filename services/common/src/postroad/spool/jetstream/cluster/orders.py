"""
Operators' orders in KV `cluster`: keys `order.<id>`, and `report.<id>.<process>` for the results.

Every process reads the changes once a second, so an order acts everywhere, also in processes that
start later. The key of an order expires with the order; so do its reports and, if it is withdrawn,
its deletion marker.

Storage that is full to the last octet takes no order, and only an order makes room there. So an
order, or its withdrawal, that has no room goes into the bucket in the servers' memory, under the
same key. What is there counts, whatever is on disk. The operator writes it to disk as soon as there
is room, because a restart of the servers loses their memory.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.agreement import Order
from postroad.spool.errors import RecordCorrupt, SpoolError, SpoolFull
from postroad.spool.jetstream.nats.direct_get import StoredMessage
from postroad.spool.jetstream.nats.key_value import (
    Bucket,
    Outdated,
    is_deletion,
    text_of,
    token,
)
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.spool.wire.order import decode_order, encode_order
from postroad.telemetry.logs import get_logger

_ORDER = "order."
_REPORT = "report."
_LOOKS_EVERY = timedelta(seconds=1)
_PATIENCE = timedelta(seconds=20)
_NONE = timedelta(0)
_MARKER_LASTS = timedelta(minutes=1)  # longer than the order
_NOTES_LAST = timedelta(days=7)  # life of reports, and of the marker of an unreadable order

log = get_logger(__name__)


class JetStreamOrders:
    """
    Implements agreement.Orders; `start` before use, `close` after.

    `memory` is the bucket for what has no room on disk; who `saves` writes it there later.
    """

    def __init__(self, bucket: Bucket, memory: Bucket, *, saves: bool = False) -> None:
        self._bucket = bucket
        self._memory = memory
        self._saves = saves
        self._on_disk: dict[str, Order] = {}
        self._in_memory: dict[str, Order | None] = {}  # None is withdrawn
        self._orders: dict[str, Order] = {}  # by both
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
        """
        Put an order in force everywhere.

        Raises SpoolUnavailable, and SpoolFull if neither disk nor memory has room.
        """
        key, told = _ORDER + token(order.order_id), encode_order(order)
        lifetime = order.until - datetime.now(UTC)
        try:
            await self._bucket.put_surely(key, told, patience=_PATIENCE, lifetime=lifetime)
            self._on_disk[order.order_id] = order
        except SpoolFull as full:
            try:
                await self._memory.put_surely(key, told, patience=_PATIENCE, lifetime=lifetime)
            except SpoolFull:
                raise full from None  # as where the servers have no memory for the bucket
            self._in_memory[order.order_id] = order
        self._combine()

    async def withdraw(self, order_id: str) -> bool:
        """End an order early; False when there is none. Raises SpoolUnavailable or SpoolFull."""
        key = _ORDER + token(order_id)
        kept, remembered = await self._bucket.get(key), await self._memory.get(key)
        message = remembered or kept
        if message is None or is_deletion(message):
            return False
        lifetime, in_memory = _remaining(message), remembered is not None
        if kept is not None and not is_deletion(kept):
            try:
                await self._bucket.remove(key, patience=_PATIENCE, lifetime=lifetime)
                self._on_disk.pop(order_id, None)
            except SpoolFull:
                in_memory = True
        if in_memory:
            await self._memory.remove(key, patience=_PATIENCE, lifetime=lifetime)
            self._in_memory[order_id] = None
        self._combine()
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
                if self._saves:
                    await self._save()
            except SpoolError as error:
                log.debug("the orders are not read, or not saved", error=str(error))

    async def _catch_up(self) -> None:
        while True:
            found = await self._bucket.changes(_ORDER + "*", after=self._revision)
            for message in found.messages:
                self._revision = message.sequence
                order_id, order = self._read(message)
                if order is None:
                    self._on_disk.pop(order_id, None)
                else:
                    self._on_disk[order_id] = order
            if not found.pending:
                break
        await self._remember()
        self._combine()

    async def _remember(self) -> None:
        """Read what is in memory from the beginning: it is little, and may begin anew."""
        told: dict[str, Order | None] = {}
        after, pending = 0, True
        try:
            while pending:
                found = await self._memory.changes(_ORDER + "*", after=after)
                for message in found.messages:
                    after = message.sequence
                    order_id, order = self._read(message)
                    told[order_id] = order
                pending = bool(found.pending)
        except SpoolError as error:
            # The operator makes this bucket anew after a restart of the servers.
            log.debug("the orders in memory are not read", error=str(error))
            return
        self._in_memory = told

    async def _save(self) -> None:
        """Write to disk what is only in memory. Raises SpoolError while there is no room."""
        now = datetime.now(UTC)
        for order_id, order in self._in_memory.items():
            key, kept = _ORDER + token(order_id), self._on_disk.get(order_id)
            if order is None and kept is not None:
                lifetime = kept.until - now + _MARKER_LASTS
                await self._bucket.remove(key, patience=_NONE, lifetime=lifetime)
            elif order is not None and kept is None and order.until > now:
                with contextlib.suppress(Outdated):  # it was withdrawn meanwhile
                    await self._bucket.put(
                        key, encode_order(order), expected=0, lifetime=order.until - now
                    )

    def _read(self, message: StoredMessage) -> tuple[str, Order | None]:
        """Return an order's id, and the order; None if it is withdrawn or cannot be read."""
        key = message.subject.rpartition(".")[2]
        order_id = text_of(key)
        if is_deletion(message):
            return order_id, None
        try:
            order = decode_order(message.data)
        except RecordCorrupt as error:
            # Perhaps an order of a newer version, which only newer processes can carry out.
            log.warning("an order is left to other processes", order_id=order_id, error=str(error))
            return order_id, None
        return order_id, replace(order, stored=message.stored_at.astimezone(UTC))

    def _combine(self) -> None:
        """Tell the waiters if other orders are in force than before."""
        now, before = datetime.now(UTC), self._orders
        both = {**self._on_disk, **self._in_memory}
        self._on_disk = {key: each for key, each in self._on_disk.items() if each.until > now}
        self._orders = {key: each for key, each in both.items() if each and each.until > now}
        # That an order expires is no change that anybody waits for.
        if self._orders != {key: each for key, each in before.items() if each.until > now}:
            self._version += 1
            self._change.set()
            self._change = asyncio.Event()


def _remaining(message: StoredMessage) -> timedelta:
    """Return how long the deletion marker of an order is needed: as long as the order."""
    try:
        until = decode_order(message.data).until
    except RecordCorrupt:
        return _NOTES_LAST
    return until - datetime.now(UTC) + _MARKER_LASTS
