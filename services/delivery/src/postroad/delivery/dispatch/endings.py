"""
The ends of what was taken: what follows of each record is settled, logged, and told to the history.

Settling goes on behind the connection's back, so that a connection does not wait for the disk; how
much of it is under way is bounded, and so is what a process has in hand.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from postroad.delivery import metrics
from postroad.delivery.attempt.attempt import Ended
from postroad.delivery.dispatch.lines import relay_object, tell_attempt, tell_order, tell_settlement
from postroad.delivery.dispatch.orders import order_for
from postroad.delivery.disposition.happening import Attempted
from postroad.delivery.disposition.settlement import Settlement, put_off, settle
from postroad.delivery.disposition.unattempted import (
    hold_ended,
    meeting,
    no_way_out,
    ordered,
    unread,
    without_body,
)
from postroad.delivery.outcome import Kind
from postroad.delivery.tools import WorkerTools
from postroad.policy.model import WayOut
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.agreement import Order
from postroad.spool.errors import BodyCorrupt, BodyMissing, LeaseLost, SpoolError
from postroad.spool.interface import Taken
from postroad.spool.record import QueueRecord
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_SETTLES = 500  # under way at once
_SOON = (10.0, 30.0)  # seconds until what the queue has broken off goes on


class Endings:
    """The ends of all records that a process takes, and the count of those that have none yet."""

    def __init__(self, tools: WorkerTools, tasks: BackgroundTasks) -> None:
        self._tools = tools
        self._tasks = tasks
        self._settling = asyncio.Semaphore(_SETTLES)
        self._finishing = 0
        self._nothing_left = asyncio.Event()
        self.in_hand = 0

    def took(self) -> None:
        """Count a record that was taken: it has to end by one of the ways below."""
        self.in_hand += 1

    async def all_ended(self) -> None:
        """Wait until nothing is in hand."""
        while self.in_hand:
            self._nothing_left.clear()
            await self._nothing_left.wait()

    async def attempted(self, taken: Taken, way_out: WayOut, ended: Ended, site: str) -> None:
        """Settle an attempt behind the connection's back, as long as not too many are under way."""
        attempted = _attempted(way_out, ended, site)
        settlement = settle(taken.record, attempted, self._tools.circumstances(way_out.retry))
        order = None
        if settlement.puts:
            settlement, order = self._meeting_order(taken, settlement)
        self._tell(taken.record, way_out, ended, settlement)
        if not settlement.puts and self._finishing < _SETTLES:
            self._finishing += 1
            self._tools.taking.finish(taken, settlement.events, self._finished)
            return
        await self._settling.acquire()
        self._tasks.spawn(self._settle_released(taken, settlement, order))

    def _meeting_order(
        self, taken: Taken, settlement: Settlement
    ) -> tuple[Settlement, Order | None]:
        """
        Return a settlement as an order has it that came meanwhile, if one did.

        And the order, if the record meets it by that, and not only when it is taken again.
        """
        order = order_for(self._tools.spool.orders.in_force(datetime.now(UTC)), taken)
        if order is None or order.action == "suspend":  # suspended is what waits anyway
            return settlement, None
        met = meeting(order, settlement, self._tools.circumstances())
        if len(met.events) == len(settlement.events):
            return met, None
        tell_order(taken.record, order)
        return met, order

    def _finished(self) -> None:
        self._finishing -= 1
        self._gone()

    async def _settle_released(
        self, taken: Taken, settlement: Settlement, order: Order | None
    ) -> None:
        try:
            await self._settle_by(order, taken, settlement)
        finally:
            self._settling.release()

    async def _settle_by(self, order: Order | None, taken: Taken, settlement: Settlement) -> None:
        """Settle, and count the record as changed by an order, if there is one."""
        if await self.settle(taken, settlement) and order is not None:
            self._tools.order_counts.add(order.order_id)

    async def settle(self, taken: Taken, settlement: Settlement) -> bool:
        """Settle: tried until it succeeds. Return whether it did, or the record comes again."""
        settled = await self._tools.taking.settle(taken, settlement.puts, settlement.events)
        self._gone()
        return settled

    def put_off(
        self,
        taken: Taken,
        way_out: WayOut,
        site: str,
        seconds: float,
        reason: str,
        known: Ended | None = None,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Let a record wait that is not tried now, and not for a reason of its own.

        `known` is what had come of an attempt that was broken off. `then` is called when it is
        stored.
        """
        record, known = taken.record, known or Ended()
        at, attempted = self._tools.circumstances(way_out.retry), _attempted(way_out, known, site)
        settlement = put_off(record, timedelta(seconds=seconds), site, reason, at, attempted)
        self._tell_outcomes(record, way_out, known)
        tell_settlement(record, settlement, attempted=False)
        self._tasks.spawn(self._settle_then(taken, settlement, then))

    async def _settle_then(
        self, taken: Taken, settlement: Settlement, then: Callable[[], None]
    ) -> None:
        if await self.settle(taken, settlement):
            then()

    def unread(self, taken: Taken, seconds: float) -> None:
        """Let a record wait while an object cannot be read that may say how it leaves."""
        metrics.UNDECIDED.inc()
        at = self._tools.circumstances()
        settlement = unread(taken.record, timedelta(seconds=seconds), at)
        tell_settlement(taken.record, settlement, attempted=False)
        self._tasks.spawn(self.settle(taken, settlement))

    async def give_back(self, taken: Taken) -> None:
        """Let another process have a record that was not begun."""
        await self._tools.taking.give_back(taken)
        self._gone()

    def _drop(self, taken: Taken) -> None:
        """Let go of a record whose lease is in doubt: another process may have it."""
        record_id = str(taken.record.record_id)
        log.warning("a record was dropped, its lease is in doubt", record_id=record_id)
        self._tools.taking.drop(taken)
        self._gone()

    def _gone(self) -> None:
        self.in_hand -= 1
        if not self.in_hand:
            self._nothing_left.set()

    def _tell(
        self, record: QueueRecord, way_out: WayOut, ended: Ended, settlement: Settlement
    ) -> None:
        self._tell_outcomes(record, way_out, ended)
        if settlement.puts:
            tell_settlement(record, settlement, attempted=True)

    def _tell_outcomes(self, record: QueueRecord, way_out: WayOut, ended: Ended) -> None:
        now = datetime.now(UTC)
        for outcome in ended.outcomes.values():
            if outcome.kind is Kind.DELIVERED:
                metrics.QUEUE_SECONDS.observe((now - record.arrival).total_seconds())
        tell_attempt(record, way_out, ended, now)

    async def unattempted(self, taken: Taken, way_out: WayOut | None, order: Order | None) -> None:
        """End the taking of a record with an order on it, out of a hold, or without a way out."""
        record = taken.record
        at = self._tools.circumstances(way_out.retry if way_out else None)
        if order is not None and order.action == "suspend" and record.hold is not None:
            order = None  # the hold decides first whether it goes on at all
        if order is not None:
            settlement = ordered(record, order, at)
            tell_order(record, order)
        elif record.hold is not None:
            settlement = hold_ended(record, record.hold, at)
        else:
            settlement = no_way_out(record, at)
        tell_settlement(record, settlement, attempted=False)
        await self._settle_by(order, taken, settlement)

    async def broken_off(
        self, taken: Taken, way_out: WayOut, site: str, known: Ended, error: SpoolError
    ) -> None:
        """
        End an attempt that the queue has broken off: our trouble, not the mail's.

        Its schedule does not advance. Who has the mail by then is not sent it again.
        """
        reason = f"the body cannot be read now: {error}"
        if isinstance(error, BodyMissing | BodyCorrupt):
            await self._without_body(taken, way_out, site, error, known)
            return
        if isinstance(error, LeaseLost):
            metrics.LEASES_LOST.inc()
            if not known.outcomes:
                self._drop(taken)
                return
            reason = "the mail may have been in other hands"
        self.put_off(taken, way_out, site, self._tools.dice.uniform(*_SOON), reason, known)

    def cut_off(self, taken: Taken, way_out: WayOut, site: str, known: Ended) -> None:
        """Let a record wait whose attempt the end of the process cuts off, if anybody has it."""
        if known.outcomes:  # else nothing is to be told: it comes again by itself
            wait, reason = self._tools.dice.uniform(*_SOON), "the process that sent it had to end"
            self.put_off(taken, way_out, site, wait, reason, known)

    async def _without_body(
        self, taken: Taken, way_out: WayOut, site: str, error: SpoolError, known: Ended
    ) -> None:
        """Hold a record whose body cannot be had for a person to look at, after what is known."""
        record, reason = taken.record, type(error).__name__
        log.error(
            "a record is held", record_id=str(record.record_id), reason=reason, error=str(error)
        )
        attempted, at = _attempted(way_out, known, site), self._tools.circumstances()
        settlement = without_body(record, reason, at, attempted)
        self._tell(record, way_out, known, settlement)
        await self.settle(taken, settlement)


def _attempted(way_out: WayOut, ended: Ended, site: str) -> Attempted:
    return Attempted(
        ended.outcomes, site, ended.peer_address, relay_object(way_out), ended.resume_from
    )
