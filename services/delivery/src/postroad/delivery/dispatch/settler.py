"""
Ends the records that a process took: settles them, and writes log lines and events.

Settling goes on in the background, so that connections do not wait for the disk. The number of
concurrent settles is limited, and so is the number of records in hand.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from postroad.delivery import metrics
from postroad.delivery.attempt.attempt import AttemptResult
from postroad.delivery.context import WorkerContext
from postroad.delivery.dispatch.lines import relay_object, tell_attempt, tell_order, tell_settlement
from postroad.delivery.dispatch.precedence import order_on
from postroad.delivery.outcome import OutcomeKind
from postroad.delivery.settling.happening import Attempted
from postroad.delivery.settling.settlement import Settlement, put_off, settle
from postroad.delivery.settling.unattempted import (
    hold_ended,
    meeting,
    no_route,
    ordered,
    unread,
    without_body,
)
from postroad.policy.model import EgressPath
from postroad.process.background.tasks import BackgroundTasks
from postroad.smtp_client.network import OwnLack
from postroad.spool.agreement import Order
from postroad.spool.errors import BodyCorrupt, BodyMissing, LeaseLost, SpoolError, SpoolUnavailable
from postroad.spool.interface import LeasedRecord
from postroad.spool.record import QueueRecord
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_SETTLES = 500  # concurrent settles
_SOON = (10.0, 30.0)  # seconds until an attempt is tried again that the queue or this machine ended


class Settler:
    """Ends the records that a process takes, and counts those in hand."""

    def __init__(self, context: WorkerContext, tasks: BackgroundTasks) -> None:
        self._context = context
        self._tasks = tasks
        self._settling = asyncio.Semaphore(_SETTLES)
        self._finishing = 0
        self._nothing_left = asyncio.Event()
        self.in_hand = 0

    def took(self) -> None:
        """Count a record that was taken; one of the methods below must end it."""
        self.in_hand += 1

    async def all_ended(self) -> None:
        """Wait until nothing is in hand."""
        while self.in_hand:
            self._nothing_left.clear()
            await self._nothing_left.wait()

    async def attempted(
        self, leased: LeasedRecord, egress_path: EgressPath, ended: AttemptResult, site: str
    ) -> None:
        """Settle an attempt in the background; waits while too many settles are under way."""
        attempted = _attempted(egress_path, ended, site)
        settlement = settle(
            leased.record, attempted, self._context.settlement_context(egress_path.retry)
        )
        orders: Sequence[Order] = ()
        if settlement.puts:
            settlement, orders = self._meeting_orders(leased, settlement)
        self._tell(leased.record, egress_path, ended, settlement)
        if not settlement.puts and self._finishing < _SETTLES:
            self._finishing += 1
            self._context.consumer.finish(leased, settlement.events, self._finished)
            return
        await self._settling.acquire()
        self._tasks.spawn(self._settle_released(leased, settlement, orders))

    def _meeting_orders(
        self, leased: LeasedRecord, settlement: Settlement
    ) -> tuple[Settlement, Sequence[Order]]:
        """
        Apply orders that came during an attempt to its settlement.

        Returns the settlement and the orders that it has carried out.
        """
        orders = self._context.spool.orders.in_force(datetime.now(UTC))
        if not orders:
            return settlement, ()
        met = meeting(
            settlement,
            lambda record: order_on(orders, record, leased.lane_key.lane),
            self._context.settlement_context(),
        )
        for order in met[1]:
            tell_order(leased.record, order)
        return met

    def _finished(self) -> None:
        self._finishing -= 1
        self._gone()

    async def _settle_released(
        self, leased: LeasedRecord, settlement: Settlement, orders: Sequence[Order]
    ) -> None:
        try:
            await self._settle_by(orders, leased, settlement)
        finally:
            self._settling.release()

    async def _settle_by(
        self, orders: Sequence[Order], leased: LeasedRecord, settlement: Settlement
    ) -> None:
        """Settle, and count the record as changed by each of some orders."""
        record = leased.record
        if await self.settle(leased, settlement):
            self._context.order_counts.add(record, (order.order_id for order in orders))

    async def settle(self, leased: LeasedRecord, settlement: Settlement) -> bool:
        """Settle a record, with retries. Return False if the record comes again."""
        settled = await self._context.consumer.settle(leased, settlement.puts, settlement.events)
        self._gone()
        return settled

    def put_off(
        self,
        leased: LeasedRecord,
        egress_path: EgressPath,
        site: str,
        seconds: float,
        reason: str,
        known: AttemptResult | None = None,
        then: Callable[[bool], None] = lambda _: None,
        *,
        expires: bool = True,
    ) -> None:
        """
        Put off a record for a reason that is not the mail's.

        `known` has the outcomes of an interrupted attempt. `then` is called with whether the record
        was stored. After its deadline a record still waits for a last try, for a limited time if it
        `expires`.
        """
        record, known = leased.record, known or AttemptResult()
        at, attempted = (
            self._context.settlement_context(egress_path.retry),
            _attempted(egress_path, known, site),
        )
        wait = timedelta(seconds=seconds)
        settlement = put_off(record, wait, site, reason, at, attempted, expires=expires)
        self._tell_outcomes(record, egress_path, known)
        tell_settlement(record, settlement, attempted=False)
        self._tasks.spawn(self._settle_then(leased, settlement, then))

    async def _settle_then(
        self, leased: LeasedRecord, settlement: Settlement, then: Callable[[bool], None]
    ) -> None:
        then(await self.settle(leased, settlement))

    def unread(self, leased: LeasedRecord, seconds: float) -> None:
        """
        Put off a record while an object cannot be read that may decide its egress path.

        This is no `put_off`: the record must not be tried until a person mends the object. So at
        its deadline it expires like suspended mail, where other mail gets a last try.
        """
        metrics.UNDECIDED.inc()
        at = self._context.settlement_context()
        settlement = unread(leased.record, timedelta(seconds=seconds), at)
        tell_settlement(leased.record, settlement, attempted=False)
        self._tasks.spawn(self.settle(leased, settlement))

    def nothing_left(self, leased: LeasedRecord) -> None:
        """
        End a record whose recipients have all ended.

        No release stores one, but an attempt at it would be a message to nobody.
        """
        log.warning("a record has no recipient left", record_id=str(leased.record.record_id))
        self._tasks.spawn(self.settle(leased, Settlement((), ())))

    async def give_back(self, leased: LeasedRecord) -> None:
        """Give a record that has not begun to another process."""
        await self._context.consumer.give_back(leased)
        self._gone()

    def _drop(self, leased: LeasedRecord, reason: str = "its lease is in doubt") -> None:
        """Drop a record that another process may have, or has ended."""
        log.warning("a record was dropped", record_id=str(leased.record.record_id), reason=reason)
        self._context.consumer.drop(leased)
        self._gone()

    def _gone(self) -> None:
        self.in_hand -= 1
        if not self.in_hand:
            self._nothing_left.set()

    def _tell(
        self,
        record: QueueRecord,
        egress_path: EgressPath,
        ended: AttemptResult,
        settlement: Settlement,
    ) -> None:
        self._tell_outcomes(record, egress_path, ended)
        if settlement.puts:
            tell_settlement(record, settlement, attempted=True)

    def _tell_outcomes(
        self, record: QueueRecord, egress_path: EgressPath, ended: AttemptResult
    ) -> None:
        now = datetime.now(UTC)
        for outcome in ended.outcomes.values():
            if outcome.kind is OutcomeKind.DELIVERED:
                metrics.QUEUE_SECONDS.observe((now - record.arrival).total_seconds())
        tell_attempt(record, egress_path, ended, now)

    async def unattempted(
        self, leased: LeasedRecord, egress_path: EgressPath | None, order: Order | None
    ) -> None:
        """End a record that has an order, comes from a hold, or has no egress path."""
        record = leased.record
        at = self._context.settlement_context(egress_path.retry if egress_path else None)
        if order is not None and order.action == "suspend" and record.hold is not None:
            order = None  # first the end of the hold decides whether the record goes on
        if order is not None:
            settlement = ordered(record, order, at)
            tell_order(record, order)
        elif record.hold is not None:
            settlement = hold_ended(record, record.hold, at)
        else:
            settlement = no_route(record, at)
        tell_settlement(record, settlement, attempted=False)
        await self._settle_by(() if order is None else (order,), leased, settlement)

    async def broken_off(
        self,
        leased: LeasedRecord,
        egress_path: EgressPath,
        site: str,
        known: AttemptResult,
        error: SpoolError | OwnLack,
    ) -> None:
        """
        End an attempt that an error of the queue, or a lack of this machine's own, interrupted.

        The retry schedule does not advance. Recipients that have the mail do not get it again. A
        body is also missing if another process, paused for longer than its lease, has ended the
        record: then there is nothing to hold.
        """
        reason = f"the body cannot be read now: {error}"
        if isinstance(error, BodyMissing | BodyCorrupt):
            try:
                if await self._context.consumer.has_ended(leased):
                    self._drop(leased, "another process has ended it")
                else:
                    await self._without_body(leased, egress_path, site, error, known)
                return
            except SpoolUnavailable as unavailable:
                reason = f"the body cannot be read now: {unavailable}"
        if isinstance(error, OwnLack):
            reason = f"this machine cannot connect: {error}"
        if isinstance(error, LeaseLost):
            metrics.LEASES_LOST.inc()
            if not known.outcomes:
                self._drop(leased)
                return
            reason = "the mail may have been in other hands"
        self.put_off(leased, egress_path, site, self._context.dice.uniform(*_SOON), reason, known)

    def cut_off(
        self, leased: LeasedRecord, egress_path: EgressPath, site: str, known: AttemptResult
    ) -> None:
        """Put off a record whose attempt the process's end interrupts, if it has outcomes."""
        if known.outcomes:  # otherwise nothing need be stored: the record comes again
            wait, reason = self._context.dice.uniform(*_SOON), "the process that sent it had to end"
            self.put_off(leased, egress_path, site, wait, reason, known)

    async def _without_body(
        self,
        leased: LeasedRecord,
        egress_path: EgressPath,
        site: str,
        error: SpoolError,
        known: AttemptResult,
    ) -> None:
        """Hold a record whose body is missing or corrupt, with the known outcomes."""
        record, reason = leased.record, type(error).__name__
        log.error(
            "a record is held", record_id=str(record.record_id), reason=reason, error=str(error)
        )
        attempted, at = _attempted(egress_path, known, site), self._context.settlement_context()
        settlement = without_body(record, reason, at, attempted)
        self._tell(record, egress_path, known, settlement)
        await self.settle(leased, settlement)


def _attempted(egress_path: EgressPath, ended: AttemptResult, site: str) -> Attempted:
    return Attempted(
        ended.outcomes, site, ended.peer_address, relay_object(egress_path), ended.resume_from
    )
