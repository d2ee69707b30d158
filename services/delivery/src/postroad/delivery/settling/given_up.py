"""
Gives up recipients, with the text that their sender is told about each. No I/O.

The text includes the last reply for the recipient, which tells the sender what to do. The status of
an expired recipient is that of its last reply, as with Postfix: programs read no text.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from postroad.delivery.outcome import cut, most_text
from postroad.mail.status import DELIVERY_EXPIRED, SUCCESS, EnhancedStatus
from postroad.spool.record import LastReply, QueuedRecipient, QueueRecord, RecipientState

NOT_TRIED = EnhancedStatus(4, 4, 5)  # the mail system is congested
# Of a host that lacks SMTPUTF8, or has too small a SIZE: no other time will help.
_LACKING = (EnhancedStatus(4, 6, 7), EnhancedStatus(4, 3, 4))


def everybody(_: QueuedRecipient) -> bool:
    """Select every recipient."""
    return True


def end(
    record: QueueRecord,
    meant: Callable[[QueuedRecipient], bool],
    told: str,
    status: EnhancedStatus | None,
    now: datetime,
) -> tuple[QueueRecord, list[QueuedRecipient]]:
    """
    Return the record with the selected pending recipients bounced, and these recipients.

    If `status` is None, each has the status of its last reply.
    """
    ended: list[QueuedRecipient] = []
    recipients: list[QueuedRecipient] = []
    most = most_text(len(record.recipients))
    for recipient in record.recipients:
        if recipient.state is RecipientState.PENDING and meant(recipient):
            why = status or _status_of_last(recipient.last)
            recipient = _ended(recipient, told, why, now, most)
            ended.append(recipient)
        recipients.append(recipient)
    return replace(record, recipients=tuple(recipients)), ended


def _status_of_last(said: LastReply | None) -> EnhancedStatus:
    """Return the status of what kept a recipient waiting until it expired."""
    if said is None or not said.status:
        return DELIVERY_EXPIRED
    status = EnhancedStatus.parse(said.status)
    if status == NOT_TRIED or status.klass == SUCCESS.klass:
        return DELIVERY_EXPIRED
    return status.with_class(5) if status in _LACKING and not said.host else status


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
