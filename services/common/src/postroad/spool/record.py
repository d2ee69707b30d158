"""
The queue's record: one message for one destination domain, with all that is known of its delivery.

A record is immutable; each attempt makes the next one, with `step` one higher. What must survive a
crash is in here and nowhere else: no process remembers anything of a message.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from postroad.mail.address import Mailbox
from postroad.mail.envelope import DEFAULT_NOTIFY, Body, Notify, Ret
from postroad.mail.traffic import TrafficClass
from postroad.mail.valueclass import valueclass
from postroad.spool.ids import RecordId


class RecipientState(StrEnum):
    """How far one recipient has come."""

    PENDING = "Pending"
    DELIVERED = "Delivered"
    BOUNCED = "Bounced"


@dataclass(frozen=True, slots=True)
class LastReply:
    """What was heard of a recipient last: the reply or a sentence of ours, from whom and when."""

    text: str
    at: datetime
    status: str = ""  # enhanced status, "4.4.1"
    host: str = ""  # the remote MTA's name, empty when none answered
    phase: str = ""  # to what it answered so, "RCPT"


@valueclass(frozen=True, slots=True)
class QueuedRecipient:
    """A forward-path with what was asked for it, its state, and the last word about it."""

    mailbox: Mailbox
    notify: Notify = DEFAULT_NOTIFY
    orcpt: str | None = None
    state: RecipientState = RecipientState.PENDING
    last: LastReply | None = None


@valueclass(frozen=True, slots=True)
class Origin:
    """Where a message came from. `client` is `namespace/name`, None for a stranger."""

    client: str | None = None
    namespace: str = ""
    peer: str = ""  # IP address
    helo: str = ""
    protocol: str = "ESMTP"  # the `with` of RFC 3848
    tags: tuple[str, ...] = ()
    traceparent: str = ""  # W3C trace context of the SMTP transaction, empty when not traced


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A body kept in the blob store, shared by the records of so many `destinations`."""

    shard: int
    blob_id: str
    chunks: int
    size: int
    sha256: bytes
    destinations: int  # 0: not known, as an older release did not say


class OnHoldExpiry(StrEnum):
    """What happens to held mail when its hold ends by itself."""

    RELEASE = "Release"
    BOUNCE = "Bounce"


ADMIN = "Admin"  # the reason of a hold that a person ordered


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a record is held, and what becomes of it at the hold's deadline."""

    reason: str  # Poison, Unreadable, BodyMissing, Admin, Quota
    on_expiry: OnHoldExpiry = OnHoldExpiry.RELEASE
    note: str = ""  # what the person who ordered it gave as the reason
    ordered: datetime | None = None  # since when the order that made it is in force


_LEFT_OUT = "the reply was too long to be kept"

# Features a reader must know to deliver a record rightly; a process leaves to a newer one what
# needs a feature that is not listed here.
KNOWN_FEATURES: frozenset[str] = frozenset()


@valueclass(frozen=True, slots=True, kw_only=True)
class QueueRecord:
    """
    One message for one destination domain.

    The content that is sent is `trace` followed by `content` (or the blob's bytes): header fields
    of ours first, then what came in, dot-stuffing removed, lines ended by CRLF.
    """

    record_id: RecordId
    step: int = 0
    reverse_path: Mailbox | None
    recipients: tuple[QueuedRecipient, ...]
    domain: str  # destination, normalised
    arrival: datetime
    deadline: datetime  # after it, unfinished recipients expire
    origin: Origin = field(default_factory=Origin)
    body: Body = Body.SEVEN_BIT
    smtputf8: bool = False
    requiretls: bool = False
    ret: Ret | None = None
    envid: str | None = None
    traffic_class: TrafficClass = TrafficClass.EXPRESS
    pool: str = "default"
    site: str = ""  # empty until a site is known for the domain
    trace: bytes = b""
    content: bytes | BlobRef = b""
    header: bytes = b""  # the message's header block, kept when content is a blob (bounded)
    attempts: int = 0
    last_attempt: datetime | None = None
    delay_warned: bool = False
    lane_moves: int = 0  # moves to another lane since the last attempt
    resume_from: int = 0  # recipients before this one were tried in the attempt that goes on
    overtime: datetime | None = None  # until when it waits for a try past its deadline
    hold: Hold | None = None
    released: datetime | None = None  # since when the last order that released it is in force
    needs: frozenset[str] = frozenset()
    doubtful_hosts: tuple[str, ...] = ()  # perhaps took it and did not say so; the last one last
    unknown: bytes = field(default=b"", repr=False)  # fields of a newer writer, kept as they came

    @property
    def size(self) -> int:
        """Octets of the content as it is sent, before dot-stuffing."""
        body = self.content.size if isinstance(self.content, BlobRef) else len(self.content)
        return len(self.trace) + body

    @property
    def pending(self) -> tuple[QueuedRecipient, ...]:
        """The recipients that still need an attempt."""
        return tuple(r for r in self.recipients if r.state is RecipientState.PENDING)

    def without_replies(self) -> "QueueRecord":
        """Return the record with a remark in place of what was heard of each recipient."""
        recipients = tuple(
            replace(each, last=LastReply(_LEFT_OUT, each.last.at, each.last.status))
            if each.last is not None
            else each
            for each in self.recipients
        )
        return replace(self, recipients=recipients)

    def next_step(self, **changes: object) -> "QueueRecord":
        """Return the record as it is to be published again: a step higher, with these changes."""
        return replace(self, step=self.step + 1, **changes)  # type: ignore[arg-type]
