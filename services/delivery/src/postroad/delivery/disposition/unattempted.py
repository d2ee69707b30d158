"""
What becomes of a record that is not attempted: what follows, as after an attempt. No I/O.

An operator has ordered something, its hold has ended, no object says how it leaves, one that may
say so cannot be read, or its body cannot be had.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from postroad.delivery import metrics
from postroad.delivery.disposition.happening import Attempted, event_about
from postroad.delivery.disposition.retry import JITTER, overtime
from postroad.delivery.disposition.settlement import (
    AT_ONCE,
    NOT_TRIED,
    GivenUp,
    Settlement,
    SettlementContext,
    expire,
    give_up,
    hold,
    put_off,
    settle,
)
from postroad.delivery.outcome import Outcome, bounced, deferred
from postroad.delivery.routing.routes import NoRoute
from postroad.mail.status import (
    DELIVERY_EXPIRED,
    DELIVERY_NOT_AUTHORIZED,
    MISCONFIGURED,
    EnhancedStatus,
)
from postroad.spool.agreement import Order
from postroad.spool.event import Event, EventType
from postroad.spool.interface import HOLD_LIMIT, Put, QueueState, Ready, Scheduled
from postroad.spool.record import ADMIN, BlobRef, Hold, OnHoldExpiry, QueueRecord, RecipientState

# After which it is looked at again: the order may have been cancelled, and a million records that
# wait are a thousand writes a second.
_LOOKED_AT = timedelta(minutes=15)
_LAST_LOOK = timedelta(minutes=1)  # after its deadline, by which a record is looked at then
_UNREAD = "the configuration cannot be read completely"


def ordered(
    record: QueueRecord, order: Order, at: SettlementContext, place: QueueState = AT_ONCE
) -> Settlement:
    """
    Return what follows from an order to bounce, delete, hold or suspend.

    If an order ends some of the recipients, the record goes on with the others at `place`.
    """
    match order.action:
        case "bounce":
            why = _ended(order, EventType.ADMIN_BOUNCE, "bounced by order")
            return give_up(record, why, at, order.acts_on, place)
        case "delete":
            why = _ended(order, EventType.ADMIN_DELETE, "deleted by order", silent=True)
            return give_up(record, why, at, order.acts_on, place)
        case "hold":
            metrics.HELD.labels("order").inc()
            return hold(record, held_by(order), order.said, at)
        case _:
            return _suspended(record, order, at)


def held_by(order: Order) -> Hold:
    """Return the hold that an order makes: no release undoes it that is older than the order."""
    return Hold(ADMIN, note=order.reason, ordered=order.since)


def ends_in_part(record: QueueRecord, order: Order) -> bool:
    """Whether an order ends some recipients of a record that it means, and leaves others."""
    return not all(map(order.acts_on, record.pending))


def _ended(order: Order, kind: EventType, told: str, *, silent: bool = False) -> GivenUp:
    told = f"{told}: {order.reason}" if order.reason else told
    return GivenUp(kind, order.said, told, DELIVERY_NOT_AUTHORIZED, silent)


def _suspended(record: QueueRecord, order: Order, at: SettlementContext) -> Settlement:
    """Return what follows when a record's destination is to be left alone."""
    said = f"suspended: {order.reason}" if order.reason else "suspended by order"
    wait = min(order.until - at.now, _LOOKED_AT * at.dice.uniform(1 - JITTER, 1 + JITTER))
    return _left_alone(record, wait, said, at)


def unread(record: QueueRecord, wait: timedelta, at: SettlementContext) -> Settlement:
    """
    Return what follows while an object cannot be read that may say how a record leaves.

    Its sender is told of no delay, since the Relay that says whether to is not known.
    """
    silent = replace(at, schedule=replace(at.schedule, delay_warning=None))
    return _left_alone(record, wait, _UNREAD, silent, MISCONFIGURED)


def _left_alone(
    record: QueueRecord,
    wait: timedelta,
    said: str,
    at: SettlementContext,
    status: EnhancedStatus = NOT_TRIED,
) -> Settlement:
    """
    Return what follows when a record is not to be tried for a while.

    Its last look is at its deadline, and then it expires. What comes later than that, or was never
    looked at before, was let out of a hold, or waited for us, and has a try to come: it waits for
    that, held if its body might not live so long.
    """
    late = at.now - record.deadline
    looked_at = record.overtime is None and all(each.last for each in record.pending)
    if timedelta(0) <= late < _LAST_LOOK and looked_at:
        return expire(record, said, at)
    if late > HOLD_LIMIT and isinstance(record.content, BlobRef):
        return hold(record, Hold(ADMIN, note=said), said, at)
    expires = late < timedelta(0)
    return put_off(record, wait, record.site, said, at, expires=expires, status=status)


def hold_ended(record: QueueRecord, ended: Hold, at: SettlementContext) -> Settlement:
    """Return what follows when a record comes out of its hold: it goes on, or is bounced."""
    if ended.on_expiry is OnHoldExpiry.BOUNCE:
        told, status = "its hold has ended", DELIVERY_EXPIRED.with_class(5)
        why = GivenUp(EventType.EXPIRATION, reason=told, told=told, status=status)
        return give_up(record, why, at)
    event = _told(EventType.RELEASED, record, "its hold has ended", at)
    again = overtime(deadline=record.deadline, now=at.now)
    return Settlement((Put(record.next_step(hold=None, overtime=again), Ready()),), (event,))


def no_route(record: QueueRecord, at: SettlementContext) -> Settlement:
    """Return what follows when no object says how a record leaves: it waits for one."""
    outcomes = for_all(record, deferred("no route to recipient"))
    return settle(record, Attempted(outcomes, record.site), at)


def without_body(
    record: QueueRecord, reason: str, at: SettlementContext, known: Attempted
) -> Settlement:
    """Return what follows when a body is gone, or is not what was stored: a person looks."""
    metrics.HELD.labels("body").inc()
    return hold(record, Hold(reason), reason, at, known)


def moved(record: QueueRecord, target: QueueRecord, at: SettlementContext) -> Settlement:
    """Return what follows when a record goes on in the lane where its site's mail is."""
    metrics.MOVED.inc()
    event = _told(EventType.MOVED, record, f"to {target.site}", at)
    return Settlement((Put(target, Ready()),), (event,))


def meeting(
    settlement: Settlement, decide: Callable[[QueueRecord], Order | None], at: SettlementContext
) -> tuple[Settlement, tuple[Order, ...]]:
    """
    Return a settlement as the orders have it that came meanwhile, and those it has carried out.

    What waits for its next try is taken again at once, and meets its order then. But where an order
    ends some recipients and leaves others, those wait on, if no other order means them.
    """
    puts: list[Put] = []
    events = settlement.events
    met: tuple[Order, ...] = ()
    for put in settlement.puts:
        order = decide(put.record) if isinstance(put.place, Scheduled) else None
        if order is None or order.action == "suspend":  # suspended is what waits anyway
            puts.append(put)
        elif ends_in_part(put.record, order):
            ended = ordered(put.record, order, at, put.place)
            rest, others = meeting(ended, decide, at)
            puts += rest.puts
            events += rest.events
            met += (order, *others)
        else:
            puts.append(Put(put.record, Ready()))
    return Settlement(tuple(puts), events), met


def nowhere(route: NoRoute) -> Outcome:
    """Return the outcome of mail for which there is no host to ask."""
    if route.is_permanent:
        return bounced(route.reason, route.status)
    return deferred(route.reason, status=route.status)


def for_all(record: QueueRecord, outcome: Outcome) -> dict[int, Outcome]:
    """Return an attempt's outcomes when it ended the same for every pending recipient."""
    return {
        number: outcome
        for number, recipient in enumerate(record.recipients)
        if recipient.state is RecipientState.PENDING
    }


def _told(kind: EventType, record: QueueRecord, reason: str, at: SettlementContext) -> Event:
    return event_about(kind, record, record.pending, at, reason=reason)
