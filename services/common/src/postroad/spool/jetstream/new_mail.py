"""
Reads new mail, and believes of it what only who accepts mail can know. No I/O.

Who accepts mail writes the whole record, and chooses its subject. But an order does not act on mail
that was released after it, or that arrived after it. A message that goes on does not count in the
rate of its site. Mail leaves in the order of its arrival. And a listing, a count and a consumer go
by the subject. So new mail has no history of delivery, lies under its own subject, and arrived when
it was stored, or a little earlier.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from postroad.spool.errors import RecordCorrupt
from postroad.spool.ids import RecordId
from postroad.spool.jetstream.streams.subjects import (
    SEVERAL,
    intake_subject,
    pack_subject,
    packed,
)
from postroad.spool.lanes.keys import Key
from postroad.spool.record import QueuedRecipient, QueueRecord, RecipientState
from postroad.spool.wire.pack import unpack
from postroad.spool.wire.record import decode

# Mail arrives before it is stored, for as long as that takes, and as the clocks differ.
_EARLIER = timedelta(minutes=10)


def read_new(data: bytes, subject: str, key: Key, stored: datetime) -> QueueRecord:
    """
    Return the record that is `stored` in an intake since that moment, by the servers' clock.

    Raises RecordCorrupt for one that nobody stores there who accepts mail.
    """
    record = decode(data, intake=key.sequence)
    if record.record_id.shard != key.shard:
        raise RecordCorrupt("a record of another shard")
    if _was_moved(record) or _was_tried(record) or _was_ordered(record):
        raise RecordCorrupt("new mail with a history of delivery")
    if not _is_its_own(subject, record, key):
        raise RecordCorrupt("new mail under the subject of other mail")
    arrival = min(max(record.arrival, stored - _EARLIER), stored)
    return record if arrival == record.arrival else replace(record, arrival=arrival)


def records_in(subject: str, data: bytes) -> Sequence[bytes]:
    """Return the encoded records of a message: those of a pack, else one; or RecordCorrupt."""
    count = packed(subject)
    return unpack(data, count) if count else [data]


def read_message(
    data: bytes, subject: str, key: Key, stored: datetime
) -> Iterator[tuple[Key, bytes, QueueRecord | RecordCorrupt]]:
    """
    Yield the records of a message with their keys, as octets and decoded, or why one is none.

    Raises RecordCorrupt if it should be a pack, and is none.
    """
    seen: set[RecordId] = set()
    for part, octets in enumerate(records_in(subject, data), 1 if packed(subject) else 0):
        one = key._replace(part=part)
        try:
            record = read_new(octets, subject, one, stored)
            if record.record_id in seen:
                raise RecordCorrupt("a record that is in the pack already")
            seen.add(record.record_id)
        except RecordCorrupt as error:
            yield one, octets, error
        else:
            yield one, octets, record


def _was_moved(record: QueueRecord) -> bool:
    return bool(record.step or record.lane_moves) or record.chosen_site is not None


def _was_tried(record: QueueRecord) -> bool:
    return (
        bool(record.attempts or record.resume_from or record.doubtful_hosts or record.delay_warned)
        or record.last_attempt is not None
        or record.overtime is not None
        or not all(map(_is_untried, record.recipients))
    )


def _is_untried(recipient: QueuedRecipient) -> bool:
    return recipient.state is RecipientState.PENDING and recipient.last is None


def _was_ordered(record: QueueRecord) -> bool:
    held = record.hold
    return record.released is not None or (held is not None and held.ordered is not None)


def _is_its_own(subject: str, record: QueueRecord, key: Key) -> bool:
    """Whether a subject is that of a record, in whatever lane: the lane's owner moves it."""
    tokens = subject.split(".")
    if len(tokens) != 8:
        return False
    if not key.part:
        return intake_subject(key.shard, record, tokens[6]) == subject
    alone = pack_subject(key.shard, [record], tokens[6]).split(".")
    same_domain = tokens[7] in (alone[7], SEVERAL)
    return record.waits_until is None and tokens[4:7] == alone[4:7] and same_domain
