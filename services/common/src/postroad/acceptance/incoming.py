"""
Takes the content of a message, and stores its records in the queue.

Content up to the inline size stays in memory. Larger content goes to the blob store as it arrives,
so a message needs a limited amount of memory, whatever its size. When the content is complete, it
is searched for a mail loop, and quotas are spent. Then all records of the message are stored, or
none. The reply is 250 only after the queue's acknowledgement.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

from postroad.acceptance import metrics, verdicts
from postroad.acceptance.counts.shared import SharedCounts
from postroad.acceptance.history import History, Refusal
from postroad.acceptance.limits import AcceptanceLimits
from postroad.acceptance.provenance import client_event, client_name
from postroad.acceptance.quotas import Quotas
from postroad.acceptance.records import WholeMessage, header_reader, records
from postroad.acceptance.rejections import Rejections
from postroad.acceptance.transaction import Transaction
from postroad.mail.header import count_fields
from postroad.policy.limits.quota import Sending
from postroad.policy.limits.quota_ledger import Exceeded
from postroad.policy.model import OnExceeded
from postroad.smtp.reply import Reply
from postroad.spool.errors import PublishRefused, RecordTooLarge, SpoolError, SpoolFull
from postroad.spool.event import EventType
from postroad.spool.interface import HOLD_LIMIT, BodyWriter, Held, Put, QueueState, Ready, Spool
from postroad.spool.record import QUOTA, BlobRef, Hold
from postroad.telemetry.log_limit import LineLimit
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

# RFC 5321 §4.5.3.2.6 gives us 10 minutes; a restart of the queue takes some seconds, and a client
# that hears 451 after that can do something better than wait.
_SHARED_BODY = 8  # destinations past which the content is stored once, beside the records
# Pieces are joined at this number. Each needs some 40 octets besides its content, so a client that
# sends one or two octets at a time would use twenty times the memory of its content.
_MOST_PIECES = 256
_NOT_STORED = (
    PublishRefused,
    SpoolFull,
    RecordTooLarge,
)  # errors after which it is certainly not stored


@dataclass(slots=True)
class AcceptanceTools:
    """
    What all incoming messages of a process share.

    `count_refusal` counts a refusal of the process, and returns its reason in one word.
    """

    spool: Spool
    quotas: Quotas
    limits: AcceptanceLimits
    hostname: str
    process: str
    count_refusal: Callable[[Refusal], str]
    lines: LineLimit = field(init=False)  # the budget of lines that strangers cause
    history: History = field(init=False)
    rejections: Rejections = field(init=False)

    def __post_init__(self) -> None:
        self.lines = LineLimit()
        self.history = History(self.spool.events, self.process, self.lines, self.count_refusal)
        told = "refusals are counted by this process alone"
        shared = SharedCounts(self.spool.usage, self.lines, told)
        self.rejections = Rejections(self.limits.rejections_per_network, shared)


class IncomingMessage:
    """
    One message that is being received: `add` its content, then `finish`, or `abort`.

    `judge_again` applies the configuration that came into force while the content arrived. It
    returns the refusal if the message may no longer be accepted.
    """

    def __init__(
        self,
        tools: AcceptanceTools,
        transaction: Transaction,
        judge_again: Callable[[], Reply | None],
    ) -> None:
        self._tools = tools
        self._transaction = transaction
        self._judge_again = judge_again
        self._pieces: list[bytes] = []
        self._size = 0
        self._destinations = len({mailbox.domain for mailbox in transaction.recipients})
        self._header = header_reader(transaction)
        self._writer: BodyWriter | None = None
        self._failure: SpoolError | None = None
        self._verdict: Reply | None = None  # if it is refused before the final dot

    @property
    def held(self) -> int:
        """Octets of memory that the message needs, its records to be made included."""
        if self._writer is not None:
            content = self._writer.held
        else:
            content = self._size * (1 + self._destinations) if self._pieces else 0
        return self._transaction.held + content

    @property
    def size(self) -> int:
        """Octets so far."""
        return self._size

    @property
    def submitted(self) -> bool:
        """Whether the message is submitted, and not relayed."""
        return self._transaction.submitted

    async def add(self, piece: bytes) -> None:
        """Take a piece of content; wait while the blob store's window is full."""
        self._size += len(piece)
        if self._verdict is not None or self._failure is not None:
            return
        if self._size > self._tools.limits.message_size:
            await self.refuse(verdicts.TOO_LARGE)
            return
        if self._writer is None:
            self._pieces.append(piece)
            if self._size <= self._tools.limits.inline_size:
                if len(self._pieces) >= _MOST_PIECES:
                    self._pieces = [b"".join(self._pieces)]
                return
            piece = self._begin_large()
        if passed := self._header.feed(piece):
            await self._write(passed)

    def _begin_large(self) -> bytes:
        whole = b"".join(self._pieces)
        self._pieces.clear()
        lifetime = max(w.retry.lifetime for w in self._transaction.recipients.values())
        known = self._transaction.sender.client is not None
        self._writer = self._tools.spool.write_body(lifetime=lifetime, known=known)
        return whole

    async def _write(self, piece: bytes) -> None:
        assert self._writer is not None
        try:
            await self._writer.write(piece)
        except SpoolError as error:
            self._failure = error
            await self.abort()

    async def refuse(self, reply: Reply) -> None:
        """Discard the content, also what is still to come; `reply` answers the final dot."""
        self._verdict = self._verdict or reply
        await self.abort()

    async def abort(self) -> None:
        """Give the message up, as the client is gone or the message is refused."""
        self._pieces.clear()
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.abort()

    async def finish(self, *, bare: bool) -> Reply:
        """Store the whole message and return the reply to its final dot."""
        began = monotonic()
        self._transaction.size = self._size
        await self._end_header()
        refusal = self._refusal(bare)
        if refusal is not None:
            await self.abort()
            return self._refused(refusal)
        try:
            reply = await self._store()
        except SpoolError as error:
            self._tell_failure(error)
            reply = self._refused(_unavailable(error))
        finally:
            await self.abort()
        metrics.STORE_SECONDS.observe(monotonic() - began)
        return reply

    def _tell_failure(self, error: SpoolError) -> None:
        left_out = self._tools.lines.admit("a message could not be stored", "")
        if left_out is not None:
            reason = type(error).__name__
            log.warning(
                "a message could not be stored",
                error=str(error),
                reason=reason,
                left_out=left_out,
            )

    async def _end_header(self) -> None:
        if self._writer is None:
            self._pieces = [self._header.feed(b"".join(self._pieces)) + self._header.end()]
        elif tail := self._header.end():
            await self._write(tail)

    def _refusal(self, bare: bool) -> Reply | None:
        if self._verdict is not None:
            return self._verdict
        if self._failure is not None:
            return _unavailable(self._failure)
        if bare:
            return verdicts.BARE_IN_CONTENT
        # Each hop puts its field in front, so the beginning of a long header is enough.
        if count_fields(self._header.block, b"received") > self._tools.limits.received_fields:
            return verdicts.LOOP
        return self._judge_again()

    async def _store(self) -> Reply:
        transaction = self._transaction
        sending = Sending(
            transaction.sender.client.key if transaction.sender.client else None,
            transaction.sender.reverse_path,
            transaction.client_info.address,
            recipients=len(transaction.recipients),
            octets=self._size,
        )
        allowed = await self._tools.quotas.take(transaction.snapshot, sending)
        if isinstance(allowed, Exceeded):
            rejects = allowed.demand.quota.on_exceeded is OnExceeded.REJECT and allowed.certain
            return self._refused(verdicts.QUOTA_NEVER if rejects else verdicts.QUOTA_LATER)
        hold = Hold(QUOTA) if allowed.holds else None
        in_doubt = False
        try:
            content = await self._content()
            in_doubt = True
            return await self._accept(content, hold)
        except BaseException as error:
            # If nobody knows whether it is stored, it may be delivered: the quota stays spent.
            certain = not in_doubt or isinstance(error, _NOT_STORED)
            if certain:
                self._tools.quotas.refund(allowed.spent)
            raise

    async def _accept(self, content: bytes | BlobRef, hold: Hold | None) -> Reply:
        arrival = datetime.now(UTC)
        tools = self._tools
        whole = WholeMessage(self._transaction, self._header, content, arrival, hold)
        place: QueueState = Ready() if hold is None else Held(arrival + HOLD_LIMIT)

        def compose(queue_id: str) -> Sequence[Put]:
            made = records(whole, queue_id, hostname=tools.hostname, sites=tools.spool.sites)
            return [Put(record, place) for record in made]

        queue_id = tools.spool.new_queue_id(arrival)
        stored = await tools.spool.accept(queue_id, compose, timeout=tools.limits.store)
        self._count_accepted(stored.queue_id, stored.sequence, arrival, hold)
        return verdicts.queued(stored.queue_id)

    async def _content(self) -> bytes | BlobRef:
        if self._writer is None and self._destinations <= _SHARED_BODY:
            return b"".join(self._pieces)
        if self._writer is None:
            await self._write(self._begin_large())
            if self._failure is not None:
                raise self._failure
        assert self._writer is not None
        return await self._writer.finish(destinations=self._destinations)

    def _count_accepted(
        self, queue_id: str, sequence: int, arrival: datetime, hold: Hold | None
    ) -> None:
        metrics.ACCEPTED.inc()
        metrics.RECEIVED_BYTES.inc(self._size)
        metrics.MESSAGE_SIZE.observe(self._size)
        transaction = self._transaction
        event = client_event(
            EventType.RECEPTION,
            transaction.client_info,
            at=arrival,
            process=self._tools.process,
            client=client_name(transaction.sender.client),
            reverse_path=transaction.reverse_path,
            recipients=tuple(str(mailbox) for mailbox in transaction.recipients),
            size=self._size,
            queue_id=queue_id,
            sequence=sequence,
            reason=hold.reason if hold else "",
        )
        self._tools.history.accepted(event)

    @staticmethod
    def _refused(reply: Reply) -> Reply:
        (metrics.REJECTED if reply.is_permanent else metrics.DEFERRED).inc()
        return reply


def _unavailable(error: SpoolError) -> Reply:
    return verdicts.QUEUE_FULL if isinstance(error, SpoolFull) else verdicts.QUEUE_AWAY
