"""
What happened to a message, as a line of its history.

Types are those of KumoMTA's log records and RFC 3464's actions; people are shown the words that
mail servers' logs have. Whoever tells of a record makes the event by `record_event`, so that all
have the same columns. Written after the fact is durable, in small batches, never in the way of
mail.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from postroad.mail.valueclass import valueclass
from postroad.spool.record import QueuedRecipient, QueueRecord


class EventType(StrEnum):
    """The kind of an event; the value is its token in the events' subjects."""

    RECEPTION = "Reception"
    DELIVERY = "Delivery"
    TRANSIENT_FAILURE = "TransientFailure"
    BOUNCE = "Bounce"
    EXPIRATION = "Expiration"
    REJECTION = "Rejection"
    ADMIN_BOUNCE = "AdminBounce"
    ADMIN_DELETE = "AdminDelete"  # removed by order, and nobody was told
    RETRIED = "Retried"  # made ready before its time, by order
    DELAYED = "Delayed"  # the sender was warned
    HELD = "Held"
    RELEASED = "Released"
    MOVED = "Moved"

    @property
    def word(self) -> str:
        """What people call it: accepted, delivered, deferred, bounced …"""
        return _WORDS.get(self, self.value.lower())


# Those whose value is another word; stored events have the values.
_WORDS = {
    EventType.RECEPTION: "accepted",
    EventType.DELIVERY: "delivered",
    EventType.TRANSIENT_FAILURE: "deferred",
    EventType.BOUNCE: "bounced",
    EventType.EXPIRATION: "expired",
    EventType.REJECTION: "rejected",
    EventType.ADMIN_BOUNCE: "admin-bounced",
    EventType.ADMIN_DELETE: "deleted",
}


@valueclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of history. Fields that do not apply are empty, 0 or None."""

    type: EventType
    at: datetime
    queue_id: str = ""
    record_id: str = ""
    reverse_path: str = ""
    recipients: tuple[str, ...] = ()
    domain: str = ""
    site: str = ""
    host: str = ""  # the next hop
    peer_address: str = ""
    client: str = ""
    reply: str = ""
    reason: str = ""
    size: int = 0
    attempt: int = 0
    ambiguous: bool = False
    sequence: int = 0  # of the record in its shard's stream, for Reception
    tls: str = ""
    process: str = ""
    traceparent: str = ""
    helo: str = ""  # what a client called itself, for Reception and Rejection
    command: str = ""  # what was refused, for Rejection: CONNECT, AUTH, MAIL, RCPT, DATA …
    user: str = ""  # the name of a refused login
    relay: str = ""  # the Relay that says how it leaves, namespace/name
    delay: float = 0.0  # seconds since it was accepted
    left_out: int = 0  # Rejections alike before this one that were not written


def record_event(
    kind: EventType,
    record: QueueRecord,
    recipients: Sequence[QueuedRecipient],
    *,
    at: datetime,
    process: str,
    reason: str = "",
    site: str = "",
    host: str = "",
    peer_address: str = "",
    relay: str = "",
    reply: str = "",
    ambiguous: bool = False,
    tls: str = "",
    of_attempt: bool = False,
) -> Event:
    """
    Return an event about some recipients of a record, told by a process.

    `of_attempt`: it ends an attempt, which `record` does not count yet. `site` is the record's own
    where none is said.
    """
    return Event(
        type=kind,
        at=at,
        queue_id=record.record_id.queue_id,
        record_id=str(record.record_id),
        reverse_path=str(record.reverse_path or ""),
        recipients=tuple([str(recipient.mailbox) for recipient in recipients]),
        domain=record.domain,
        site=site or record.site,
        host=host,
        peer_address=peer_address,
        client=record.origin.client or "",
        relay=relay,
        delay=round((at - record.arrival).total_seconds(), 3),
        reply=reply,
        reason=reason,
        size=record.size,
        attempt=record.attempts + of_attempt,
        ambiguous=ambiguous,
        tls=tls,
        process=process,
        traceparent=record.origin.traceparent,
    )
