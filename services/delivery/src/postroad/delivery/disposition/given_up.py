"""
Recipients that are given up, with what their sender is told of each. No I/O.

The last that was heard of a recipient is told too: who sent the mail learns by it what to do.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from postroad.delivery.outcome import cut, most_text
from postroad.mail.status import EnhancedStatus
from postroad.spool.record import LastReply, QueuedRecipient, QueueRecord, RecipientState


def everybody(_: QueuedRecipient) -> bool:
    """Mean every recipient."""
    return True


def end(
    record: QueueRecord,
    meant: Callable[[QueuedRecipient], bool],
    told: str,
    status: EnhancedStatus,
    now: datetime,
) -> tuple[QueueRecord, list[QueuedRecipient]]:
    """Return the record without hope for the pending recipients that are meant, and those."""
    ended: list[QueuedRecipient] = []
    recipients: list[QueuedRecipient] = []
    most = most_text(len(record.recipients))
    for recipient in record.recipients:
        if recipient.state is RecipientState.PENDING and meant(recipient):
            recipient = _ended(recipient, told, status, now, most)
            ended.append(recipient)
        recipients.append(recipient)
    return replace(record, recipients=tuple(recipients)), ended


def _ended(
    recipient: QueuedRecipient, told: str, status: EnhancedStatus, now: datetime, most: int
) -> QueuedRecipient:
    """Return a recipient that is given up, with the last that was heard of it."""
    said = recipient.last
    if said is not None and (said.host or said.text not in told):  # ours is not said twice
        who = f"{said.host} said " if said.host else ""
        told = f"{told}; last: {who}{said.text}"
    last = LastReply(cut(told, most), now, str(status))
    return replace(recipient, state=RecipientState.BOUNCED, last=last)
