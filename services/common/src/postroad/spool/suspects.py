"""
Records that are not handed to delivery: those that killed whoever took them, and the unreadable.

They are held, as they are, for a person to look at: a record that kills its process must not kill
every owner in turn, and nothing is ever dropped.
"""

from datetime import UTC, datetime

from postroad.mail.address import Mailbox
from postroad.spool.ids import RecordId, derived_queue_id
from postroad.spool.interface import HOLD_LIMIT, Held, Put, held
from postroad.spool.pull import Delivered
from postroad.spool.record import Hold, QueuedRecipient, QueueRecord
from postroad.spool.subjects import domain_of_ready

POISON = 8  # deliveries without a settle
# Of a record that needs what not every version can: those that cannot hand it back each half minute
# of an upgrade, and that counts as well.
POISON_IN_AN_UPGRADE = 500
UNREADABLE = "Unreadable"


def reason_to_hold(record: QueueRecord, deliveries: int) -> str | None:
    """Return why a record is held instead of attempted, None when it is not."""
    if record.hold is not None and record.hold.reason == UNREADABLE:
        return UNREADABLE
    most = POISON_IN_AN_UPGRADE if record.needs else POISON
    return "Poison" if deliveries >= most else None


def put_on_hold(record: QueueRecord, reason: str, now: datetime) -> Put:
    """Return the put that holds a record for a reason of `reason_to_hold`."""
    if record.hold is not None and reason == UNREADABLE:
        return Put(record, Held(now + HOLD_LIMIT))
    return held(record, Hold(reason), now=now)


def unreadable(delivered: Delivered) -> QueueRecord:
    """Return a record that holds, verbatim, what could not be read as one."""
    now = datetime.now(UTC)
    domain = domain_of_ready(delivered.message.subject)
    origin = f"{delivered.shard}.{delivered.sequence}"
    queue_id = derived_queue_id(now, delivered.shard, origin=origin)
    return QueueRecord(
        record_id=RecordId(queue_id, 0),
        reverse_path=None,
        recipients=(QueuedRecipient(Mailbox("postmaster", domain)),),
        domain=domain,
        arrival=now,
        deadline=now + HOLD_LIMIT,
        content=delivered.message.data,
        hold=Hold(UNREADABLE),
    )
