"""
Carries out operators' orders on waiting mail.

An order is carried out by listing and claiming the waiting records; `precedence` decides which of
several orders a record follows. Several processes may do this at once, and only one changes each
record. If an order ends only some recipients of a waiting record, they end where it waits: making
the record ready would be a retry or a release for the other recipients. Each process begins with
its own lanes, so that together they read a long queue once. Then it processes all other lanes, in
case their owner died.

A process that starts while an order is in force does not know what others have done. So it compares
times: a release does not release mail that was held after it, and a retry does not retry mail that
was tried since. A hold does not hold mail that a newer order has released. The record itself has
the time of a release, because the lane's owner may hear of the release later.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from postroad.delivery import metrics
from postroad.delivery.context import WorkerContext
from postroad.delivery.dispatch.lines import tell_order, tell_settlement
from postroad.delivery.dispatch.precedence import arrived_after, is_undone
from postroad.delivery.settling.happening import event_about
from postroad.delivery.settling.retry import overtime
from postroad.delivery.settling.unattempted import ends_in_part, held_by, ordered
from postroad.process.background.backoff import Backoff
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.agreement import ENDING, Order
from postroad.spool.errors import ClaimLost, SpoolError, SpoolFull
from postroad.spool.event import EventType
from postroad.spool.interface import Deferred, Held, Put, Queued, Ready, held
from postroad.spool.record import QUOTA, QueueRecord
from postroad.spool.selection import Selection, WaitKind
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_TOLD = {
    "retry": EventType.RETRIED,
    "release": EventType.RELEASED,
    "hold": EventType.HELD,
}
_AT_ONCE = 32  # records that are changed concurrently, and are in memory
_HEARD = timedelta(seconds=2)  # until every process knows an order
_AGAIN = 5.0  # seconds until an order that failed is tried again
# Until an order is tried again whose mail cannot be claimed yet. Usually it is moved within a
# second, but not while storage is full, and each try lists all that waits.
_COMING = Backoff(timedelta(seconds=0.5), timedelta(seconds=30))


@dataclass(slots=True)
class _Unfinished:
    """An order that is not done: how often its mail could not be claimed, and when it is due."""

    rounds: int = 0
    due: float = 0.0  # loop time


class OrderKeeper:
    """
    Carries out each order once on waiting records, and reports how many records it changed.

    `obey` is called when orders change; it applies them to records in hand that have not begun.
    """

    def __init__(self, context: WorkerContext, *, obey: Callable[[], None]) -> None:
        self._spool = context.spool
        self._consumer = context.consumer
        self._configuration = context.configuration
        self._process = context.process
        self._counts = context.order_counts
        self._settlement_context = context.settlement_context
        self._obey = obey
        self._done: set[str] = set()
        self._unfinished: dict[str, _Unfinished] = {}
        self._tasks = BackgroundTasks(metrics.INTERNAL_ERRORS)

    async def run(self) -> None:
        """Carry out the orders in force and new ones, until cancelled."""
        await self._configuration.wait_published()
        self._tasks.keep(lambda: self._counts.run(self._spool.orders, self._process))
        try:
            await self._keep_up()
        finally:
            await self._tasks.cancel()

    async def _keep_up(self) -> None:
        while True:
            changed = asyncio.ensure_future(self._spool.orders.changed())
            try:
                await asyncio.wait([changed], timeout=await self._carry_out_all())
            finally:
                changed.cancel()

    async def _carry_out_all(self) -> float | None:
        """Carry out what is left to do; return the seconds until the next try, None if all is."""
        orders = self._spool.orders.in_force(datetime.now(UTC))
        left = {order.order_id for order in orders}
        self._done &= left
        self._unfinished = {key: each for key, each in self._unfinished.items() if key in left}
        self._obey()
        clock = asyncio.get_running_loop().time
        for order in orders:
            if order.order_id in self._done:
                continue
            unfinished = self._unfinished.setdefault(order.order_id, _Unfinished())
            if unfinished.due > clock():
                continue
            pause = await self._try(order, unfinished)
            if pause is None:
                self._done.add(order.order_id)
                del self._unfinished[order.order_id]
            else:
                unfinished.due = clock() + pause
        first = min((each.due for each in self._unfinished.values()), default=None)
        return None if first is None else max(0.0, first - clock())

    async def _try(self, order: Order, unfinished: _Unfinished) -> float | None:
        """Carry out an order; return the seconds until the next try, None if it is done."""
        try:
            if await self._carry_out(order):
                return None
        except SpoolError as error:
            log.warning("an order is carried out later", reason=order.action, error=str(error))
            return _AGAIN
        except Exception:
            # Otherwise one order would end every delivery process again and again.
            metrics.INTERNAL_ERRORS.inc()
            log.exception("an order could not be carried out", reason=order.action)
            return _AGAIN
        unfinished.rounds += 1
        return _COMING.seconds(unfinished.rounds, random)

    async def _carry_out(self, order: Order) -> bool:
        """Carry out an order; return whether it is done, that is, all of its mail was there."""
        affected, complete = 0, True
        async for group in self._concerned(order):
            there = [queued for queued in group if not queued.is_coming]
            complete = complete and len(there) == len(group)
            # Concurrently, so that they share the syncs of the disk.
            changed = await asyncio.gather(*(self._change(order, queued) for queued in there))
            affected += sum(changed)
            # What is due becomes ready, and is deleted then; but nothing does in full storage.
            left = order.action == "delete" and any(
                not done and queued.due is not None
                for queued, done in zip(there, changed, strict=True)
            )
            complete = complete and not left
        if complete or affected:
            log.info("an order was carried out", reason=order.action, count=affected)
        return complete

    async def _concerned(self, order: Order) -> AsyncIterator[Sequence[Queued]]:
        """Yield the waiting records that the order acts on, in groups to change concurrently."""
        for part in self._parts(order.selection):
            group: list[Queued] = []
            async for queued in self._spool.waiting.list(part):
                if not concerns(order, queued) or self._is_undone(order, queued):
                    continue
                group.append(queued)
                if len(group) == _AT_ONCE:
                    yield group
                    group = []
            if group:
                yield group

    def _parts(self, selection: Selection) -> Iterator[Selection]:
        """Yield the selection of waiting records in this process's lanes, then in all others."""
        # The owner of a lane applies orders when it takes ready mail.
        kinds = selection.kinds - {WaitKind.READY}
        meant = selection.lanes
        for lanes in (self._consumer.lanes, self._consumer.lanes_elsewhere):
            yield replace(selection, kinds=kinds, lanes=lanes if meant is None else lanes & meant)

    def _is_undone(self, order: Order, queued: Queued) -> bool:
        orders = self._spool.orders.in_force(datetime.now(UTC))
        return is_undone(order, queued, self._spool.lane_of(queued.record), orders)

    async def _change(self, order: Order, queued: Queued) -> bool:
        """Carry out the order on a record; False if it is ready, or about to be."""
        try:
            await self._claim(order, queued, datetime.now(UTC))
        except (ClaimLost, SpoolFull) as error:
            if await self._is_removed(order, queued):
                return True
            if isinstance(error, SpoolFull):
                raise
            return False
        if counts(order, queued):
            self._counts.add(queued.record, (order.order_id,))
        return True

    async def _claim(self, order: Order, queued: Queued, now: datetime) -> None:
        record = queued.record
        if ends_in_part(record, order):
            await self._end_in_part(order, queued, now)
            return
        put = Put(_waits_no_more(record, order, now), Ready())
        if order.action == "hold":
            put = held(record, held_by(order), now=now)
        await self._spool.waiting.claim(queued, [put], now)
        # For a bounce or delete, the owner takes the record, applies the order and writes events.
        if order.action in _TOLD:
            at = _Occasion(now, self._process)
            pending = record.pending
            event = event_about(_TOLD[order.action], record, pending, at, reason=order.said)
            self._spool.events.add(event)

    async def _is_removed(self, order: Order, queued: Queued) -> bool:
        """
        End a record where it waits, if nothing follows; return whether that was done.

        This takes no room, when only such an order makes some, and needs no record that may be
        claimed: while storage is full, none becomes ready.
        """
        record = queued.record
        if order.action not in ENDING or ends_in_part(record, order):
            return False
        settlement = ordered(record, order, self._settlement_context())
        if settlement.puts:
            return False
        try:
            await self._consumer.remove(queued, settlement.events)
        except ClaimLost:
            return False
        tell_order(record, order)
        tell_settlement(record, settlement, attempted=False)
        self._counts.add(queued.record, (order.order_id,))
        return True

    async def _end_in_part(self, order: Order, queued: Queued, now: datetime) -> None:
        """End some recipients of a waiting record; the others go on waiting as before."""
        assert queued.due is not None
        record = queued.record
        stays = Held(queued.due) if queued.kind is WaitKind.HELD else Deferred(queued.due)
        settlement = ordered(record, order, self._settlement_context(), stays)
        await self._spool.waiting.claim(queued, settlement.puts, now)
        tell_order(record, order)
        tell_settlement(record, settlement, attempted=False)
        for event in settlement.events:
            self._spool.events.add(event)
        self._counts.add(queued.record, (order.order_id,))


@dataclass(frozen=True, slots=True)
class _Occasion:
    now: datetime
    process: str


def _waits_no_more(record: QueueRecord, order: Order, now: datetime) -> QueueRecord:
    """Return a record that is made ready; after a release it has the release's time."""
    released = record.released
    if order.action == "release":
        released = order.since if released is None else max(released, order.since)
    again = overtime(deadline=record.deadline, now=now)
    return record.next_step(hold=None, resume_from=0, released=released, overtime=again)


def concerns(order: Order, queued: Queued) -> bool:
    """Whether an order acts on a waiting record that matches its selection."""
    if arrived_after(order, queued.record):
        return False
    match order.action:
        case "suspend":
            return False  # it acts on records when they are taken
        case "release":
            return queued.kind is WaitKind.HELD and _held_at(queued) <= order.since
        case "retry":
            return queued.kind is WaitKind.DEFERRED and not _was_looked_at(queued, order.since)
        case "hold":
            return queued.kind is WaitKind.DEFERRED
        case _:
            return True


def counts(order: Order, queued: Queued) -> bool:
    """
    Whether a record counts as changed when it is claimed for an order.

    A record that an order ends is counted when it ends. A record that was put off after a retry
    order was in hand then, or was claimed for it before and put off again, as its site is down.
    """
    return order.action not in ENDING and (order.action != "retry" or queued.stored < order.since)


def _held_at(queued: Queued) -> datetime:
    """
    Return when a hold was made.

    An ordered hold counts from the time of the order. A Quota holds mail when it is accepted, also
    if the record came to where it waits later.
    """
    hold = queued.record.hold
    if hold is not None and hold.reason == QUOTA:
        return queued.record.arrival
    return hold.ordered if hold is not None and hold.ordered is not None else queued.stored


def _was_looked_at(queued: Queued, since: datetime) -> bool:
    """
    Whether mail was deferred by a process that knew an order of `since`.

    A process that did not know it may have put mail off without an attempt, as suspended.
    """
    tried = queued.record.last_attempt
    return queued.stored >= (since if tried is not None and tried >= since else since + _HEARD)
