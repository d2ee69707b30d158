"""
Decides what follows for a record that is not attempted; counts those that are held or moved.

The reasons: an operator's order, the end of its hold, no egress path, an unreadable object that may
decide the egress path, a missing body.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from postroad.delivery import metrics
from postroad.delivery.outcome import Outcome, bounced, deferred
from postroad.delivery.routing.routes import LOOPS_BACK, NoRoute
from postroad.delivery.settling.given_up import NOT_TRIED
from postroad.delivery.settling.happening import Attempted, event_about
from postroad.delivery.settling.retry import JITTER, overtime
from postroad.delivery.settling.settlement import (
    AT_ONCE,
    NOTHING,
    GivenUp,
    Settlement,
    SettlementContext,
    expire,
    give_up,
    hold,
    put_off,
    settle,
)
from postroad.mail.status import (
    DELIVERY_EXPIRED,
    DELIVERY_NOT_AUTHORIZED,
    MISCONFIGURED,
    EnhancedStatus,
)
from postroad.policy.model import Reach
from postroad.policy.snapshot import Snapshot
from postroad.spool.agreement import Order
from postroad.spool.event import Event, EventType
from postroad.spool.interface import HOLD_LIMIT, Deferred, Put, QueueState, Ready
from postroad.spool.record import ADMIN, BlobRef, Hold, OnHoldExpiry, QueueRecord, RecipientState

# A suspended record is checked again after this time, as the order may have been cancelled. With a
# million such records, these are a thousand writes a second.
_LOOKED_AT = timedelta(minutes=15)
_LAST_LOOK = timedelta(minutes=1)  # after its deadline, within which its last check comes
_SOONEST = timedelta(seconds=5)  # a Relay that is replaced is away for a moment
_NO_ROUTE = deferred("no route to recipient", status=EnhancedStatus(4, 4, 4))
_UNREAD = "the configuration cannot be read completely"


def ordered(
    record: QueueRecord, order: Order, at: SettlementContext, place: QueueState = AT_ONCE
) -> Settlement:
    """
    Return what follows from an order to bounce, delete, hold or suspend.

    If an order ends some of the recipients, the record goes on with the others in state `place`.
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
    """Return the hold that an order makes; only a newer release ends it."""
    return Hold(ADMIN, note=order.reason, ordered=order.since)


def ends_in_part(record: QueueRecord, order: Order) -> bool:
    """Whether an order ends some recipients of a record, and leaves others."""
    return not all(map(order.acts_on, record.pending))


def _ended(order: Order, kind: EventType, told: str, *, silent: bool = False) -> GivenUp:
    told = f"{told}: {order.reason}" if order.reason else told
    return GivenUp(kind, order.said, told, DELIVERY_NOT_AUTHORIZED, silent)


def _suspended(record: QueueRecord, order: Order, at: SettlementContext) -> Settlement:
    """Return what follows from an order to suspend."""
    said = f"suspended: {order.reason}" if order.reason else "suspended by order"
    wait = min(order.until - at.now, _LOOKED_AT * at.dice.uniform(1 - JITTER, 1 + JITTER))
    return _left_alone(record, wait, said, at)


def unread(record: QueueRecord, wait: timedelta, at: SettlementContext) -> Settlement:
    """
    Return what follows while an object cannot be read that may decide a record's egress path.

    There is no delay warning, because the Relay that sets its time is unknown.
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
    Return what follows when a record must not be tried for a while.

    It is checked a last time at its deadline, and then expires. A record that comes later, or was
    never checked before, was released from a hold or delayed by us. It still gets a last try, for
    which it waits; if its body might expire meanwhile, it is held.
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
    """Return what follows when a hold expires: the record is released, or bounces."""
    if ended.on_expiry is OnHoldExpiry.BOUNCE:
        told, status = "its hold has ended", DELIVERY_EXPIRED.with_class(5)
        why = GivenUp(EventType.EXPIRATION, reason=told, told=told, status=status)
        return give_up(record, why, at)
    event = _told(EventType.RELEASED, record, "its hold has ended", at)
    again = overtime(deadline=record.deadline, now=at.now)
    return Settlement((Put(record.next_step(hold=None, overtime=again), Ready()),), (event,))


def no_route(record: QueueRecord, at: SettlementContext) -> Settlement:
    """
    Return what follows when a record has no egress path: it waits, and this is no attempt.

    No Relay says when to try again, and a person may declare one at any moment. So the record is
    looked at again after half of the time for which it has had no egress path. The history has the
    first time only.
    """
    first = Attempted(for_all(record, _NO_ROUTE), record.site)
    if at.now >= record.deadline:
        return settle(record, first, at)
    said = [each.last for each in record.pending]
    since = [last.at for last in said if last is not None and last.text == _NO_ROUTE.text]
    wait = (at.now - min(since)) / 2 if since else _SOONEST
    wait = max(_SOONEST, min(wait, _LOOKED_AT)) * at.dice.uniform(1 - JITTER, 1 + JITTER)
    known = NOTHING if since else first
    return put_off(record, wait, record.site, _NO_ROUTE.text, at, known)


def without_body(
    record: QueueRecord, reason: str, at: SettlementContext, known: Attempted
) -> Settlement:
    """Return what follows when a body is missing or corrupt: the record is held."""
    metrics.HELD.labels("body").inc()
    return hold(record, Hold(reason), reason, at, known)


def moved(record: QueueRecord, target: QueueRecord, at: SettlementContext) -> Settlement:
    """Return what follows when a record moves to the lane of its site."""
    metrics.MOVED.inc()
    event = _told(EventType.MOVED, record, f"to {target.site}", at)
    return Settlement((Put(target, Ready()),), (event,))


def meeting(
    settlement: Settlement, decide: Callable[[QueueRecord], Order | None], at: SettlementContext
) -> tuple[Settlement, tuple[Order, ...]]:
    """
    Apply orders that came meanwhile to a settlement; return it with the orders carried out.

    A record that would wait for its next try is made ready instead; then it is taken again and
    follows its order. But if an order ends only some recipients, they end here, and the others go
    on waiting, unless another order acts on them.
    """
    puts: list[Put] = []
    events = settlement.events
    met: tuple[Order, ...] = ()
    for put in settlement.puts:
        order = decide(put.record) if isinstance(put.place, Deferred) else None
        if order is None or order.action == "suspend":  # a waiting record need not be suspended
            puts.append(put)
        elif ends_in_part(put.record, order):
            ended = ordered(put.record, order, at, put.place)
            rest, others = meeting(ended, decide, at)
            puts += rest.puts
            events += rest.events
            met += (order, *others)
        else:
            puts.append(Put(put.record, Ready()))
    return Settlement(tuple(puts), events, settlement.expired), met


def nowhere(route: NoRoute, domain: str, snapshot: Snapshot | None) -> Outcome:
    """
    Return the outcome of mail to a domain that has no route.

    The DNS may lead to this relay before the operator has seen that, so that the Domain of this
    name does not get the mail of other namespaces yet.
    """
    claimed = snapshot.domains.get(domain) if snapshot is not None else None
    if route == LOOPS_BACK and claimed is not None and claimed.reach is not Reach.EVERYBODY:
        reason = "the DNS leads to this relay, and the claim of the Domain here is not proven yet"
        return deferred(reason, status=route.status.with_class(4))
    if route.is_permanent:
        return bounced(route.reason, route.status)
    return deferred(route.reason, status=route.status)


def for_all(record: QueueRecord, outcome: Outcome) -> dict[int, Outcome]:
    """Return the same outcome for every pending recipient."""
    return {
        number: outcome
        for number, recipient in enumerate(record.recipients)
        if recipient.state is RecipientState.PENDING
    }


def _told(kind: EventType, record: QueueRecord, reason: str, at: SettlementContext) -> Event:
    return event_about(kind, record, record.pending, at, reason=reason)
