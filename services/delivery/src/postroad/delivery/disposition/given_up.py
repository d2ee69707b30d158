"""
Gives up recipients, with the text that their sender is told about each. No I/O.

The text includes the last reply for the recipient, which tells the sender what to do.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from postroad.delivery.outcome import cut, most_text
from postroad.mail.status import EnhancedStatus
from postroad.spool.record import LastReply, QueuedRecipient, QueueRecord, RecipientState


def everybody(_: QueuedRecipient) -> bool:
    """Select every recipient."""
    return True


def end(
    record: QueueRecord,
    meant: Callable[[QueuedRecipient], bool],
    told: str,
    status: EnhancedStatus,
    now: datetime,
) -> tuple[QueueRecord, list[QueuedRecipient]]:
    """Return the record with the selected pending recipients bounced, and these recipients."""
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
    """Return a recipient that is given up, with its last reply."""
    said = recipient.last
    if said is not None and (said.host or said.text not in told):  # do not repeat our own text
        who = f"{said.host} said " if said.host else ""
        told = f"{told}; last: {who}{said.text}"
    last = LastReply(cut(told, most), now, str(status))
    return replace(recipient, state=RecipientState.BOUNCED, last=last)
