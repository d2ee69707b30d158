"""
Events: the history of each message.

The types are those of KumoMTA's log records and RFC 3464's actions. People see the usual words of
mail server logs instead. All events about a record are made by `record_event`, so that they have
the same columns. An event is written after its cause is durable, in small batches, and never delays
mail.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
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
    ADMIN_DELETE = "AdminDelete"  # removed by order, without a notification
    RETRIED = "Retried"  # made ready before its time, by order
    DELAYED = "Delayed"  # the sender was warned
    HELD = "Held"
    RELEASED = "Released"
    MOVED = "Moved"

    @property
    def word(self) -> str:
        """What people call it: accepted, delivered, deferred, bounced …"""
        return _WORDS.get(self, self.value.lower())


# For types whose value is another word; stored events have the values.
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
    """One event. Fields that do not apply are empty, 0 or None."""

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
    sequence: int = 0  # of the record in its shard's intake, for Reception
    tls: str = ""
    process: str = ""
    traceparent: str = ""
    helo: str = ""  # the client's name in HELO or EHLO, for Reception and Rejection
    command: str = ""  # what was refused, for Rejection: CONNECT, AUTH, MAIL, RCPT, DATA …
    user: str = ""  # the name of a refused login
    relay: str = ""  # the Relay of the message, namespace/name
    delay: float = 0.0  # seconds since the message was accepted
    left_out: int = 0  # similar Rejections before this one that were not written


@dataclass(slots=True)
class HistoryPosition:
    """How far a reader of the history has come, for the next reader."""

    after: int = 0
    unsettled: list[Event] = field(default_factory=list)  # read, and perhaps not the next in time


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
    Return a process's event about some recipients of a record.

    `of_attempt` says that the event ends an attempt, which `record` does not count yet. `site`
    defaults to the record's own.
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
