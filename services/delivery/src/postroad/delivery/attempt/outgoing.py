"""What one transaction sends of a queue record."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Self

from postroad.delivery.sites.waiting import WaitingRecord
from postroad.mail.envelope import Body
from postroad.mail.header import HEADER_LIMIT, header_block
from postroad.smtp import command
from postroad.smtp.folding import LineFolder, has_long_line, is_signed
from postroad.smtp_client.session import Session
from postroad.smtp_client.transaction import Outgoing
from postroad.spool.errors import LeaseLost
from postroad.spool.interface import LeasedRecord, RecordConsumer, Spool
from postroad.spool.record import BlobRef, QueueRecord


@dataclass(slots=True)
class Load:
    """What is sent, and the queue that it is from."""

    spool: Spool
    consumer: RecordConsumer
    waiting: WaitingRecord

    @property
    def leased(self) -> LeasedRecord:
        """The record."""
        return self.waiting.leased

    def outgoing(self, group: Sequence[int]) -> Outgoing:
        """Return the message for the recipients at these positions."""
        return outgoing(self.spool, self.leased.record, group)

    def most_messages(self, session: Session) -> int:
        """Return how many messages a session carries, by its peer and by the Relay."""
        most = self.waiting.egress_path.limits.messages_per_connection
        return min(most, session.most_messages or most)

    @property
    def lease_lost(self) -> LeaseLost:
        """The error that says the record may be in other hands."""
        return LeaseLost(str(self.leased.record.record_id))


def outgoing(spool: Spool, record: QueueRecord, group: Sequence[int]) -> Outgoing:
    """Return a record's message for the recipients at these positions."""
    content: bytes | AsyncIterator[bytes]
    size = record.size
    if isinstance(record.content, BlobRef):
        chunks = spool.read_body(record)
        content = chunks if is_signed(record.header) else _Folded(chunks)
    else:
        content = record.trace + record.content
        if has_long_line(content) and not is_signed(header_block(record.content)):
            folder = LineFolder()
            content = folder.feed(content) + folder.end()
            size = len(content)
    return Outgoing(
        mail=record.reverse_path,
        recipients=tuple(record.recipients[number].mailbox for number in group),
        content=content,
        size=size,
        eight_bit=record.body is Body.EIGHT_BIT,
        smtputf8=record.smtputf8 and _needs_utf8(record, group),
        mail_parameters=tuple(command.mail_dsn_parameters(record.ret, record.envid)),
    )


class _Folded:
    """Chunks with their long lines folded; no generator, as that would keep what was not folded."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks: AsyncIterator[bytes] | None = chunks
        self._folder = LineFolder()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._chunks is None:
            raise StopAsyncIteration
        chunk = await anext(self._chunks, None)
        if chunk is not None:
            return self._folder.feed(chunk)
        self._chunks = None
        if tail := self._folder.end():
            return tail
        raise StopAsyncIteration


def _needs_utf8(record: QueueRecord, group: Sequence[int]) -> bool:
    sender = record.reverse_path
    return (
        (sender is not None and sender.needs_smtputf8)
        or any(record.recipients[number].mailbox.needs_smtputf8 for number in group)
        or not _is_ascii(_header(record))
    )


def _is_ascii(header: bytes) -> bool:
    # What is cut may have more than is seen here.
    return header.isascii() and len(header) < HEADER_LIMIT


def _header(record: QueueRecord) -> bytes:
    content = record.content
    return record.header if isinstance(content, BlobRef) else header_block(content)
