"""
Which of several orders a record follows. No I/O.

Orders are of two sorts. A bounce, a delete and a hold say what becomes of a record: the newest of
them decides. A release ends older holds, and nothing else. A suspension and a retry say when mail
is tried: the newer of the two decides that, for mail that is neither ended nor held. So it does not
matter whether a record was in hand or waited when the orders were given: what is left of a delete
is deleted, whatever is suspended, resumed or tried again after it.

A record says since when it is released, and a hold which order made it. Both are newer decisions
than the orders before them, for a process too that hears of those later.
"""

from collections.abc import Sequence

from postroad.spool.agreement import ENDING, Order
from postroad.spool.interface import LeasedRecord, Queued
from postroad.spool.record import QueueRecord
from postroad.spool.selection import WaitKind

_DECIDING = ENDING | {"hold"}  # they say what becomes of mail
_UNDONE_BY = {"hold": "release"} | dict.fromkeys(ENDING, "hold")


def order_for(orders: Sequence[Order], leased: LeasedRecord) -> Order | None:
    """Return the order that a record in hand has to follow, None when there is none."""
    return order_on(orders, leased.record, leased.lane)


def order_on(orders: Sequence[Order], record: QueueRecord, lane: str) -> Order | None:
    """Return the order that a record follows when it is taken, or is left by an attempt."""
    if not orders:
        return None
    return _decided(orders, record, lane) or _suspended(orders, record, lane)


def _decided(orders: Sequence[Order], record: QueueRecord, lane: str) -> Order | None:
    """Return the order that says what becomes of a record."""
    released = False
    for order in reversed(orders):
        if order.action == "release":
            released = released or _means(order, record, lane)
        elif (
            order.action in _DECIDING
            and _takes(order, record, lane)
            and not came_before(order, record)
        ):
            return None if released and order.action == "hold" else order
    return None


def _suspended(orders: Sequence[Order], record: QueueRecord, lane: str) -> Order | None:
    """Return the order by which a record is not tried."""
    for order in reversed(orders):
        if order.action == "suspend" and _takes(order, record, lane):
            return order
        if order.action == "retry" and _means(order, record, lane):
            return None
    return None


def is_undone(order: Order, queued: Queued, lane: str, orders: Sequence[Order]) -> bool:
    """Whether a newer order has let go, or kept, a record that waits and that this one means."""
    if order.action not in _DECIDING:
        return False
    if came_before(order, queued.record):
        return True
    return queued.kind is not WaitKind.HELD and any(
        each.action == _UNDONE_BY[order.action]
        and each.placed > order.placed
        and _means(each, queued.record, lane)
        for each in orders
    )


def came_before(order: Order, record: QueueRecord) -> bool:
    """Whether a record was released, or is held, by an order that is newer than this one."""
    held = record.hold.ordered if record.hold is not None else None
    return any(each is not None and order.since <= each for each in (record.released, held))


def arrived_after(order: Order, record: QueueRecord) -> bool:
    """Whether a record is too new for an order."""
    return order.cutoff is not None and record.arrival >= order.cutoff


def _takes(order: Order, record: QueueRecord, lane: str) -> bool:
    """Whether an order means a record as it is taken."""
    return not arrived_after(order, record) and order.selection.admits(record, WaitKind.READY, lane)


def _means(order: Order, record: QueueRecord, lane: str) -> bool:
    """Whether an order means a record, as whatever it waits: it may be ready because of it."""
    return not arrived_after(order, record) and any(
        order.selection.admits(record, kind, lane) for kind in WaitKind
    )
