"""
New mail that has to wait: it is held by a Quota, or to be sent later. No I/O.

Who accepts mail stores all of it in the intake, where nothing can wait: its record says for what it
waits. The owner of its lane takes the record and moves it to the stream where mail waits.
"""

from dataclasses import replace
from datetime import datetime

from postroad.spool.interface import HOLD_LIMIT, Deferred, Held, Put, QueueState, Ready
from postroad.spool.record import QueueRecord
from postroad.spool.selection import WaitKind


def as_accepted(put: Put) -> QueueRecord:
    """Return the record of a put as the intake stores it."""
    match put.place:
        case Ready():
            return put.record
        case Deferred(until) | Held(until):
            return replace(put.record, waits_until=until)


def kind_in_intake(record: QueueRecord) -> WaitKind:
    """Return the queue state of a record in the intake."""
    if record.waits_until is None:
        return WaitKind.READY
    return WaitKind.DEFERRED if record.hold is None else WaitKind.HELD


def moved(record: QueueRecord, now: datetime) -> Put | None:
    """
    Return what takes the place of a record in the intake that has to wait, None if it has not.

    It waits for HOLD_LIMIT at most, whatever the record says.
    """
    if record.waits_until is None or record.waits_until <= now:
        return None
    until = min(record.waits_until, now + HOLD_LIMIT)
    place: QueueState = Deferred(until) if record.hold is None else Held(until)
    return Put(record.next_step(waits_until=None), place)
