"""
Records that delivery does not get: those that kill their processes, and unreadable ones.

They are held unchanged until a person has looked at them. A record that kills its process must not
kill each owner in turn, and no record is dropped.
"""

from datetime import datetime

from postroad.mail.address import Mailbox
from postroad.spool.agreement import Order
from postroad.spool.errors import RecordCorrupt
from postroad.spool.event import Event, EventType, record_event
from postroad.spool.ids import RecordId, derived_queue_id
from postroad.spool.interface import HOLD_LIMIT, Held, Put, held
from postroad.spool.jetstream.consume.pull.delivered import Delivered
from postroad.spool.jetstream.new_mail import read_new
from postroad.spool.jetstream.streams.subjects import domain_of_ready, is_plain
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.record import Hold, QueuedRecipient, QueueRecord
from postroad.spool.selection import WaitKind
from postroad.spool.wire.record import decode
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

# Deliveries after which a record may have killed the processes that had it. Then it is tried alone;
# see `spool.jetstream.consume.poison.trials`.
SUSPECT = 4
# The same for a record that older versions cannot deliver: during an upgrade they return it every
# half minute, and each return counts as a delivery.
SUSPECT_IN_AN_UPGRADE = 500
# Deaths in a row of processes that tried it alone. More than SUSPECT, so that a record which kills
# but is no suspect yet cannot put a suspect on hold that was tried at the same time.
POISON = 5
POISONOUS = "Poison"
UNREADABLE = "Unreadable"
_NO_DOMAIN = "unreadable.invalid"  # nobody has such a domain (RFC 6761 §6.4)


def is_unreadable(record: QueueRecord) -> bool:
    """Whether a record stands for an unreadable one."""
    return record.hold is not None and record.hold.reason == UNREADABLE


def is_suspect(record: QueueRecord, deliveries: int) -> bool:
    """Whether a record was delivered so often that it may have killed its processes."""
    return deliveries >= (SUSPECT_IN_AN_UPGRADE if record.needs else SUSPECT)


def is_poison(deaths: int) -> bool:
    """Whether a suspect is held after so many deaths in a row while it was tried alone."""
    return deaths >= POISON


def put_on_hold(record: QueueRecord, reason: str, now: datetime) -> Put:
    """Return the put that holds a poisonous or an unreadable record."""
    if is_unreadable(record):
        return Put(record, Held(now + HOLD_LIMIT))
    return held(record, Hold(reason), now=now)


def held_event(record: QueueRecord, reason: str, now: datetime, process: str) -> Event:
    """Return the event of a poisonous or an unreadable record that is held."""
    recipients = () if is_unreadable(record) else record.pending
    return record_event(EventType.HELD, record, recipients, at=now, process=process, reason=reason)


def deletes_unreadable(order: Order, record: QueueRecord, lane: str) -> bool:
    """
    Whether an order deletes an unreadable record before it is held.

    To hold it needs room, and such records may be all that there is to delete.
    """
    in_time = order.cutoff is None or record.arrival < order.cutoff
    kind = WaitKind.READY
    return order.action == "delete" and in_time and order.selection.admits(record, kind, lane)


def deleted_event(record: QueueRecord, why: str, now: datetime, process: str) -> Event:
    """Return the event of an unreadable record that is deleted by order."""
    return record_event(EventType.ADMIN_DELETE, record, (), at=now, process=process, reason=why)


def record_of(delivered: Delivered) -> QueueRecord:
    """Return the record that was delivered, or one that stands for it if it is unreadable."""
    message, key = delivered.message, delivered.key
    try:
        if not is_plain(message.subject):
            raise RecordCorrupt("a subject under which no record is stored")
        if key.stream is QueueStream.INTAKE:
            return read_new(message.data, message.subject, key, delivered.stored)
        record = decode(message.data)
        if record.record_id.shard != key.shard:
            raise RecordCorrupt("a record of another shard")
    except RecordCorrupt as error:
        return unreadable_of(delivered, str(error))
    return record


def unreadable_of(delivered: Delivered, why: str) -> QueueRecord:
    """Return what stands for a record that was delivered, and tell why."""
    log.error("a record cannot be read and is held", error=why)
    message = delivered.message
    return unreadable(message.subject, delivered.key, message.data, now=delivered.stored)


def unreadable(subject: str, key: Key, content: bytes, *, now: datetime) -> QueueRecord:
    """Return a held record whose content is the octets that could not be read."""
    domain = domain_of_ready(subject) or _NO_DOMAIN
    queue_id = derived_queue_id(now, key.shard, origin=f"{key.shard}.{key.token}")
    return QueueRecord(
        record_id=RecordId(queue_id, 0),
        reverse_path=None,
        recipients=(QueuedRecipient(Mailbox("postmaster", domain)),),
        domain=domain,
        arrival=now,
        deadline=now + HOLD_LIMIT,
        content=content,
        hold=Hold(UNREADABLE),
    )
