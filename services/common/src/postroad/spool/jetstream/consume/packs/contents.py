"""The records of a pack as it was delivered, and what stands for those that are unreadable."""

from collections.abc import Sequence
from typing import NamedTuple

from postroad.spool.errors import RecordCorrupt
from postroad.spool.jetstream.consume.poison.suspects import unreadable
from postroad.spool.jetstream.consume.pull.delivered import Delivered
from postroad.spool.jetstream.new_mail import read_message
from postroad.spool.lanes.keys import Key
from postroad.spool.record import QueueRecord
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)


class PackedRecord(NamedTuple):
    """A record of a pack, and how many octets it has there."""

    key: Key
    record: QueueRecord
    octets: int


def records_of(delivered: Delivered) -> Sequence[PackedRecord]:
    """Return the records of a pack. Raises RecordCorrupt if it is none."""
    message, stored = delivered.message, delivered.stored
    records = []
    for key, octets, found in read_message(message.data, message.subject, delivered.key, stored):
        if isinstance(found, RecordCorrupt):
            log.error("a record cannot be read and is held", error=str(found))
            record = unreadable(message.subject, key, octets, now=stored)
        else:
            record = found
        records.append(PackedRecord(key, record, len(octets)))
    return records
