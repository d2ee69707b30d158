"""
Records that are not handed to delivery: those that kill whoever takes them, and the unreadable.

They are held, as they are, for a person to look at: a record that kills its process must not kill
every owner in turn, and nothing is ever dropped.
"""

from datetime import UTC, datetime

from postroad.mail.address import Mailbox
from postroad.spool.errors import RecordCorrupt
from postroad.spool.event import Event, EventType, record_event
from postroad.spool.ids import RecordId, derived_queue_id
from postroad.spool.interface import HOLD_LIMIT, Held, Put, held
from postroad.spool.jetstream.consume.pull.delivered import Delivered
from postroad.spool.jetstream.streams.subjects import domain_of_ready
from postroad.spool.record import Hold, QueuedRecipient, QueueRecord
from postroad.spool.wire.record import decode
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

# Deliveries after which a record may be what killed those who had it, and is tried apart from
# others like it; see `spool.jetstream.consume.poison.trials`.
SUSPECT = 4
# Of a record that needs what not every version can: those that cannot hand it back each half minute
# of an upgrade, and that counts as well.
SUSPECT_IN_AN_UPGRADE = 500
# Deaths in a row of processes that tried it apart. More than the deliveries before: a record that
# is no suspect yet, and kills, must not put one on hold that was tried beside it.
POISON = 5
POISONOUS = "Poison"
UNREADABLE = "Unreadable"


def is_unreadable(record: QueueRecord) -> bool:
    """Whether a record stands for what could not be read."""
    return record.hold is not None and record.hold.reason == UNREADABLE


def is_suspect(record: QueueRecord, deliveries: int) -> bool:
    """Whether a record has come so often that it may have killed whoever had it."""
    return deliveries >= (SUSPECT_IN_AN_UPGRADE if record.needs else SUSPECT)


def is_poison(deaths: int) -> bool:
    """Whether a suspect is held, after that many deaths in a row while it was tried apart."""
    return deaths >= POISON


def put_on_hold(record: QueueRecord, reason: str, now: datetime) -> Put:
    """Return the put that holds a record for one of the reasons above."""
    if is_unreadable(record):
        return Put(record, Held(now + HOLD_LIMIT))
    return held(record, Hold(reason), now=now)


def held_event(record: QueueRecord, reason: str, now: datetime, process: str) -> Event:
    """Return what the history says of a record that is held for one of the reasons above."""
    recipients = () if is_unreadable(record) else record.pending
    return record_event(EventType.HELD, record, recipients, at=now, process=process, reason=reason)


def record_of(delivered: Delivered) -> QueueRecord:
    """Return the record that was delivered, or the one that stands for what cannot be read."""
    try:
        return decode(delivered.message.data)
    except RecordCorrupt as error:
        log.error("a record cannot be read and is held", error=str(error))
        return _unreadable(delivered)


def _unreadable(delivered: Delivered) -> QueueRecord:
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
