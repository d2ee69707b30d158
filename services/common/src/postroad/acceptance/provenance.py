"""
Where a message came from, in each form that is stored: Received field, origin of a record, event.

Nothing else writes the facts about a client into one of these, so they agree, and a new
fact has one place to be added.
"""

from datetime import datetime

from postroad.acceptance.transaction import Transaction
from postroad.mail.trace import ClientInfo, Hop, received_field
from postroad.policy.model import Client
from postroad.spool.event import Event, EventType
from postroad.spool.record import Origin
from postroad.telemetry import tracing


def client_name(client: Client | None) -> str:
    """Return a Client as `namespace/name`, "" for a stranger."""
    return str(client.key) if client is not None else ""


def received(transaction: Transaction, queue_id: str, *, hostname: str, at: datetime) -> bytes:
    """Return the Received field of a message; it names a recipient only if there is just one."""
    recipients = transaction.recipients
    return received_field(
        Hop(
            client=transaction.client_info,
            by=hostname,
            protocol=transaction.protocol,
            queue_id=queue_id,
            received=at,
            recipient=next(iter(recipients)) if len(recipients) == 1 else None,
        )
    )


def origin(transaction: Transaction) -> Origin:
    """Return the origin of a message's records."""
    client, info = transaction.sender.client, transaction.client_info
    return Origin(
        client=client_name(client) or None,
        namespace=client.key.namespace if client is not None else "",
        peer=info.peer,
        helo=info.helo,
        protocol=transaction.protocol,
        traceparent=tracing.current_traceparent(),
    )


def client_event(
    kind: EventType,
    info: ClientInfo,
    *,
    at: datetime,
    process: str,
    client: str,
    reverse_path: str,
    recipients: tuple[str, ...],
    size: int,
    queue_id: str = "",
    sequence: int = 0,
    command: str = "",
    user: str = "",
    reply: str = "",
    reason: str = "",
    left_out: int = 0,
) -> Event:
    """Return an event about what a client sent: a reception, or a rejection."""
    return Event(
        type=kind,
        at=at,
        queue_id=queue_id,
        reverse_path=reverse_path,
        recipients=recipients,
        peer_address=info.peer,
        helo=info.helo,
        tls=info.tls,
        client=client,
        user=user,
        command=command,
        reply=reply,
        reason=reason,
        size=size,
        sequence=sequence,
        process=process,
        traceparent=tracing.current_traceparent(),
        left_out=left_out,
    )
