"""The records of a pack as it was delivered, and what stands for those that are unreadable."""

from collections.abc import Sequence

from postroad.spool.errors import RecordCorrupt
from postroad.spool.jetstream.consume.poison.suspects import unreadable
from postroad.spool.jetstream.consume.pull.delivered import Delivered
from postroad.spool.jetstream.new_mail import read_pack
from postroad.spool.lanes.keys import Key
from postroad.spool.record import QueueRecord
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

Records = Sequence[tuple[Key, QueueRecord, int]]  # with the octets of each


def records_of(delivered: Delivered) -> Records:
    """Return the records of a pack. Raises RecordCorrupt if it is none."""
    message, stored = delivered.message, delivered.stored
    records = []
    for key, octets, found in read_pack(message.data, message.subject, delivered.key, stored):
        if isinstance(found, RecordCorrupt):
            log.error("a record cannot be read and is held", error=str(found))
            record = unreadable(message.subject, key, octets, now=stored)
        else:
            record = found
        records.append((key, record, len(octets)))
    return records
