"""
Decides which of several orders a record follows. No I/O.

There are two kinds of orders. Bounce, delete and hold decide what happens to a record: the newest
of them counts. A release ends older holds and nothing else. Suspend and retry decide when mail is
tried: the newer one counts, for mail that is neither ended nor held. So it does not matter whether
a record was in hand or waiting when the orders were given. For example, the rest of a delete is
deleted, even if mail is suspended, resumed or retried after it.

A record has the time of its last release, and a hold has the time of its order. Both override older
orders, even in a process that hears of those later.
"""

from collections.abc import Sequence

from postroad.spool.agreement import ENDING, Order
from postroad.spool.interface import LeasedRecord, Queued
from postroad.spool.puts.accepted import kind_in_intake
from postroad.spool.record import QueueRecord
from postroad.spool.selection import WaitKind

_DECIDING = ENDING | {"hold"}  # they decide what happens to a record
_UNDONE_BY = {"hold": "release"} | dict.fromkeys(ENDING, "hold")


def order_for(orders: Sequence[Order], leased: LeasedRecord) -> Order | None:
    """Return the order that a record in hand follows, None when there is none."""
    return order_on(orders, leased.record, leased.lane_key.lane)


def order_on(orders: Sequence[Order], record: QueueRecord, lane: str) -> Order | None:
    """Return the order that a record follows when it is taken, or after an attempt."""
    if not orders:
        return None
    return _decided(orders, record, lane) or _suspended(orders, record, lane)


def _decided(orders: Sequence[Order], record: QueueRecord, lane: str) -> Order | None:
    """Return the order that decides what happens to a record."""
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
    """Return the order that suspends a record."""
    for order in reversed(orders):
        if order.action == "suspend" and _takes(order, record, lane):
            return order
        if order.action == "retry" and _means(order, record, lane):
            return None
    return None


def is_undone(order: Order, queued: Queued, lane: str, orders: Sequence[Order]) -> bool:
    """Whether a newer order overrides this one for a waiting record."""
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
    """Whether a newer order than this one has released or held a record."""
    held = record.hold.ordered if record.hold is not None else None
    return any(each is not None and order.since <= each for each in (record.released, held))


def arrived_after(order: Order, record: QueueRecord) -> bool:
    """Whether a record is too new for an order."""
    return order.cutoff is not None and record.arrival >= order.cutoff


def _takes(order: Order, record: QueueRecord, lane: str) -> bool:
    """Whether an order selects a record when it is taken; new mail may be listed as waiting."""
    kinds = {WaitKind.READY, kind_in_intake(record)}
    return not arrived_after(order, record) and any(
        order.selection.admits(record, kind, lane) for kind in kinds
    )


def _means(order: Order, record: QueueRecord, lane: str) -> bool:
    """Whether an order selects a record in any queue state, since the order may have changed it."""
    return not arrived_after(order, record) and any(
        order.selection.admits(record, kind, lane) for kind in WaitKind
    )
