"""
Makes the records of a complete message: one for each destination domain.

Relayed mail gets a Received field. Submitted mail also gets the fields that it lacks, and loses
those that are for its sender alone (RFC 6409 §8). Nothing else of the content changes.
"""

from datetime import datetime
from email.utils import format_datetime, make_msgid

from postroad.acceptance.provenance import origin, received
from postroad.acceptance.transaction import Transaction
from postroad.mail.address import Mailbox
from postroad.mail.header import HeaderReader
from postroad.mail.traffic import TrafficClass
from postroad.mail.valueclass import valueclass
from postroad.spool.agreement import SiteDirectory
from postroad.spool.ids import RecordId
from postroad.spool.record import BlobRef, Hold, QueuedRecipient, QueueRecord

_COMPLETED = (b"date", b"message-id")  # RFC 6409 §8.2 and §8.3
_PRIVATE = (b"bcc", b"resent-bcc")  # RFC 5322 §3.6.3: for the sender's eyes


@valueclass(frozen=True, slots=True)
class WholeMessage:
    """A complete message: its envelope, its header as far as read, and its content."""

    transaction: Transaction
    header: HeaderReader
    content: bytes | BlobRef
    arrival: datetime
    hold: Hold | None


def header_reader(transaction: Transaction) -> HeaderReader:
    """Return the reader of a message's header that `records` needs."""
    if transaction.submitted:
        return HeaderReader(asked=_COMPLETED, dropped=_PRIVATE, mends=True)
    return HeaderReader(asked=(), dropped=())


def records(
    message: WholeMessage, queue_id: str, *, hostname: str, sites: SiteDirectory
) -> list[QueueRecord]:
    """Return the records of a message that has this queue id."""
    transaction, content = message.transaction, message.content
    destinations: dict[str, list[Mailbox]] = {}
    for mailbox in transaction.recipients:
        destinations.setdefault(mailbox.domain, []).append(mailbox)
    trace = _fields_in_front(message, queue_id, hostname)
    came_from = origin(transaction)
    client = transaction.sender.client
    made = []
    for number, (domain, mailboxes) in enumerate(destinations.items()):
        egress_path = transaction.recipients[mailboxes[0]]
        made.append(
            QueueRecord(
                record_id=RecordId(queue_id, number),
                reverse_path=transaction.sender.reverse_path,
                recipients=tuple(QueuedRecipient(mailbox) for mailbox in mailboxes),
                domain=domain,
                arrival=message.arrival,
                deadline=message.arrival + egress_path.retry.lifetime,
                origin=came_from,
                body=transaction.body,
                smtputf8=transaction.smtputf8,
                traffic_class=client.traffic_class if client else TrafficClass.TRANSACTIONAL,
                generation=transaction.snapshot.generation,
                pool=egress_path.pool,
                site=sites.lookup(domain) if egress_path.by_mx else egress_path.name,
                trace=trace,
                content=content,
                header=message.header.block if isinstance(content, BlobRef) else b"",
                hold=message.hold,
            )
        )
    return made


def _fields_in_front(message: WholeMessage, queue_id: str, hostname: str) -> bytes:
    transaction = message.transaction
    trace = received(transaction, queue_id, hostname=hostname, at=message.arrival)
    completed = _completed(message, hostname) if transaction.submitted else b""
    separator = b"\r\n" if message.header.needs_separator else b""
    return trace + completed + separator


def _completed(message: WholeMessage, hostname: str) -> bytes:
    """Return the fields a submitted message lacks."""
    fields = b""
    if not message.header.has(b"date"):
        fields += f"Date: {format_datetime(message.arrival)}\r\n".encode()
    if not message.header.has(b"message-id"):
        fields += f"Message-ID: {make_msgid(domain=hostname)}\r\n".encode()
    return fields
