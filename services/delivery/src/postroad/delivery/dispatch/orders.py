"""
Admin orders in delivery: on records as they are taken, on those in hand, and on what waits.

Which of several orders a record follows is decided in `precedence`. Orders on what waits are
carried out by paging and claiming: several processes may do it at once, and each record is changed
by one of them. Where an order ends some recipients of a record that waits, and leaves others of it,
they end there: to take it would be a try, or a release, for the others. Each process begins with
the lanes it owns, so that together they read a long queue once, and ends with all others, of which
an owner that died may have left something.

A process that starts while an order is in force cannot know what others have done by it. So each
compares times: no release lets mail go that was held after it, and no retry tries mail again that
was tried since. A hold takes no mail that a newer order has let go: of a release the record says
so, as its lane's owner may hear of it later than whoever carried it out.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from postroad.delivery import metrics
from postroad.delivery.context import WorkerContext
from postroad.delivery.dispatch.lines import tell_order, tell_settlement
from postroad.delivery.dispatch.precedence import arrived_after, is_undone
from postroad.delivery.disposition.happening import event_about
from postroad.delivery.disposition.retry import overtime
from postroad.delivery.disposition.unattempted import ends_in_part, held_by, ordered
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.agreement import ENDING, Order
from postroad.spool.errors import ClaimLost, SpoolError
from postroad.spool.event import EventType
from postroad.spool.interface import Held, Put, Queued, Ready, Scheduled, held
from postroad.spool.record import QueueRecord
from postroad.spool.selection import Selection, WaitKind
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_TOLD = {
    "retry": EventType.RETRIED,
    "release": EventType.RELEASED,
    "hold": EventType.HELD,
}
_AT_ONCE = 32  # records, all of which may be in memory
_HEARD = timedelta(seconds=2)  # until every process has heard of an order
_AGAIN = 5.0  # seconds until an order that could not be carried out whole is tried again


class OrderKeeper:
    """
    Carries orders out on what waits, each once, and tells how many records it changed.

    `obey` is called when an order has come or gone, for what is in hand and has not begun.
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
        self._tasks = BackgroundTasks(metrics.INTERNAL_ERRORS)

    async def run(self) -> None:
        """Carry out what is in force and what comes, until cancelled."""
        await self._configuration.wait_published()
        self._tasks.spawn(self._counts.run(self._spool.orders, self._process))
        try:
            await self._keep_up()
        finally:
            await self._tasks.cancel()

    async def _keep_up(self) -> None:
        while True:
            changed = asyncio.ensure_future(self._spool.orders.changed())
            try:
                complete = await self._carry_out_all()
                await asyncio.wait([changed], timeout=None if complete else _AGAIN)
            finally:
                changed.cancel()

    async def _carry_out_all(self) -> bool:
        orders = self._spool.orders.in_force(datetime.now(UTC))
        self._done &= {order.order_id for order in orders}
        self._obey()
        complete = True
        for order in orders:
            if order.order_id in self._done:
                continue
            try:
                await self._carry_out(order)
                self._done.add(order.order_id)
            except SpoolError as error:
                log.warning("an order is carried out later", reason=order.action, error=str(error))
                complete = False
        return complete

    async def _carry_out(self, order: Order) -> None:
        affected = 0
        async for group in self._concerned(order):
            # One after the other, each would wait for a sync of the disk.
            changed = await asyncio.gather(*(self._change(order, queued) for queued in group))
            affected += sum(changed)
        log.info("an order was carried out", reason=order.action, count=affected)

    async def _concerned(self, order: Order) -> AsyncIterator[Sequence[Queued]]:
        """Yield what waits and is meant by the order, in groups of what is changed at once."""
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
        """Yield what waits of a selection in this process's lanes, then what does in all others."""
        # Ready mail is taken by its owner, who knows the order.
        kinds = selection.kinds - {WaitKind.READY}
        meant = selection.lanes
        for lanes in (self._consumer.lanes, self._consumer.lanes_elsewhere):
            yield replace(selection, kinds=kinds, lanes=lanes if meant is None else lanes & meant)

    def _is_undone(self, order: Order, queued: Queued) -> bool:
        orders = self._spool.orders.in_force(datetime.now(UTC))
        return is_undone(order, queued, self._spool.lane_of(queued.record), orders)

    async def _change(self, order: Order, queued: Queued) -> bool:
        """Carry the order out on a record; False when it waits no more, or not for long."""
        try:
            await self._claim(order, queued, datetime.now(UTC))
        except ClaimLost:
            return False
        if counts(order, queued):
            self._counts.add(order.order_id)
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
        # What is bounced or deleted is told by its owner, who meets the order as it takes it.
        if order.action in _TOLD:
            at = _Occasion(now, self._process)
            pending = record.pending
            event = event_about(_TOLD[order.action], record, pending, at, reason=order.said)
            self._spool.events.add(event)

    async def _end_in_part(self, order: Order, queued: Queued, now: datetime) -> None:
        """End some recipients of a record where it waits: the others wait on, as long as before."""
        assert queued.due is not None
        record = queued.record
        stays = Held(queued.due) if queued.kind is WaitKind.HELD else Scheduled(queued.due)
        settlement = ordered(record, order, self._settlement_context(), stays)
        await self._spool.waiting.claim(queued, settlement.puts, now)
        tell_order(record, order)
        tell_settlement(record, settlement, attempted=False)
        for event in settlement.events:
            self._spool.events.add(event)
        self._counts.add(order.order_id)


@dataclass(frozen=True, slots=True)
class _Occasion:
    now: datetime
    process: str


def _waits_no_more(record: QueueRecord, order: Order, now: datetime) -> QueueRecord:
    """Return a record that waits no more; that it was released it says to older orders."""
    released = record.released
    if order.action == "release":
        released = order.since if released is None else max(released, order.since)
    again = overtime(deadline=record.deadline, now=now)
    return record.next_step(hold=None, resume_from=0, released=released, overtime=again)


def concerns(order: Order, queued: Queued) -> bool:
    """Whether an order is to be carried out on a record that waits and fits its selection."""
    if arrived_after(order, queued.record):
        return False
    match order.action:
        case "suspend":
            return False  # it means what is taken
        case "release":
            return queued.kind is WaitKind.HELD and _held_at(queued) <= order.since
        case "retry":
            return queued.kind is WaitKind.SCHEDULED and not _was_looked_at(queued, order.since)
        case "hold":
            return queued.kind is WaitKind.SCHEDULED
        case _:
            return True


def counts(order: Order, queued: Queued) -> bool:
    """
    Whether a record counts as changed when it is claimed for an order.

    What an order ends counts as it ends. What was put off since a retry was given was in hand then,
    or has been claimed for it before and put off again, as its site is down.
    """
    return order.action not in ENDING and (order.action != "retry" or queued.stored < order.since)


def _held_at(queued: Queued) -> datetime:
    """Return when a hold was made; one that was ordered counts from the order on."""
    hold = queued.record.hold
    return hold.ordered if hold is not None and hold.ordered is not None else queued.stored


def _was_looked_at(queued: Queued, since: datetime) -> bool:
    """
    Whether mail was deferred by a process that knew of an order: one of `since`.

    Who had not heard of it may have put mail off without a try, as suspended.
    """
    tried = queued.record.last_attempt
    return queued.stored >= (since if tried is not None and tried >= since else since + _HEARD)
