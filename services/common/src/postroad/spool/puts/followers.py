"""What it means if the records that follow from a settled one are, or are not, stored. Pure."""

from collections.abc import Sequence

from postroad.spool.interface import Put, Ready
from postroad.spool.record import BlobRef, QueueRecord, RecipientState


def delivers_nothing(record: QueueRecord, puts: Sequence[Put]) -> bool:
    """
    Whether the record stays in the queue, and no recipient got it in this attempt.

    Then the attempt's outcome can be forgotten if another process has the record meanwhile, reports
    of refusals included: the next attempt gets the same replies.
    """
    own = [put.record for put in puts if put.record.record_id == record.record_id]
    return bool(own) and all(_delivered(each) == _delivered(record) for each in own)


def _delivered(record: QueueRecord) -> int:
    return sum(each.state is RecipientState.DELIVERED for each in record.recipients)


def only_postpones(record: QueueRecord, puts: Sequence[Put]) -> bool:
    """Whether no mail is lost or sent twice if these puts are never stored."""
    return all(
        put.record.record_id == record.record_id
        and (put.record.resume_from or not isinstance(put.place, Ready))
        and len(put.record.pending) == len(record.pending)
        for put in puts
    )


def refers_to(puts: Sequence[Put], body: BlobRef) -> bool:
    """Whether what follows of a record has its body."""
    return any(
        isinstance(put.record.content, BlobRef) and put.record.content.blob_id == body.blob_id
        for put in puts
    )
