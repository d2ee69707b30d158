"""
The queue's record: one message for one destination domain, with the state of its delivery.

A record is immutable; each attempt makes the next form of it, with `step` one higher. Everything
that must survive a crash is in the record, because processes keep no state of a message.

`unknown` has, of each value, the fields of a newer release, which are written back as they came.
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
    """The state of one recipient."""

    PENDING = "Pending"
    DELIVERED = "Delivered"
    BOUNCED = "Bounced"


@dataclass(frozen=True, slots=True)
class LastReply:
    """The last reply for a recipient, or a sentence of ours without one."""

    text: str
    at: datetime
    status: str = ""  # enhanced status, "4.4.1"
    host: str = ""  # the remote MTA's name, empty when none answered
    phase: str = ""  # the step that the reply answers, "RCPT"
    unknown: bytes = field(default=b"", repr=False)


@valueclass(frozen=True, slots=True)
class QueuedRecipient:
    """A forward-path with its DSN parameters, its state, and the last reply for it."""

    mailbox: Mailbox
    notify: Notify = DEFAULT_NOTIFY
    orcpt: str | None = None
    state: RecipientState = RecipientState.PENDING
    last: LastReply | None = None
    unknown: bytes = field(default=b"", repr=False)


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
    unknown: bytes = field(default=b"", repr=False)


CHUNK = 512 * 1024  # octets of a body's largest chunk


@dataclass(frozen=True, slots=True)
class BlobRef:
    """The reference to a body in the blob store, which the records of `destinations` share."""

    shard: int
    blob_id: str
    chunks: int
    size: int
    sha256: bytes
    destinations: int  # 0: unknown, as written by an older release
    former: bool = False  # stored by an earlier release, with all chunks on one subject
    unknown: bytes = field(default=b"", repr=False)

    @property
    def in_memory(self) -> int:
        """The octets of it that one reader has in memory at a time."""
        # Two chunks of a former body are read ahead.
        return min(self.size, 3 * CHUNK if self.former else CHUNK)


class OnHoldExpiry(StrEnum):
    """What happens to held mail when its hold expires."""

    RELEASE = "Release"
    BOUNCE = "Bounce"


ADMIN = "Admin"  # the reason of a hold that an operator ordered
QUOTA = "Quota"  # the reason of a hold when mail is accepted


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a record is held, and what happens when the hold expires."""

    reason: str  # Poison, Unreadable, BodyMissing, Admin, Quota
    on_expiry: OnHoldExpiry = OnHoldExpiry.RELEASE
    note: str = ""  # the operator's reason for the order
    ordered: datetime | None = None  # when the order that made it came into force
    unknown: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class ChosenSite:
    """
    The site to whose lane a process moved a record, with the MX hosts that it found.

    Another process may get another answer from the DNS. The lane's owner keeps to this one for a
    while, so that the record reaches the owner of the site that it is sent to.
    """

    site: str
    hosts: tuple[tuple[str, tuple[str, ...]], ...]  # names and addresses, in the order to try them
    at: datetime
    number: int = 1  # how many sites were chosen since the last attempt
    is_whole: bool = False  # whether the domain has no other hosts that could not be found
    unknown: bytes = field(default=b"", repr=False)


_LEFT_OUT = "the reply was too long to be kept"

# Features that a process must know to deliver a record correctly; it leaves records that need other
# features to newer processes.
KNOWN_FEATURES: frozenset[str] = frozenset()


@valueclass(frozen=True, slots=True, kw_only=True)
class QueueRecord:
    """
    One message for one destination domain.

    The content to send is `trace`, our own header fields, followed by `content` (or the blob's
    octets), the received content without dot-stuffing, with CRLF line ends.
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
    traffic_class: TrafficClass = TrafficClass.TRANSACTIONAL
    pool: str = "default"
    site: str = ""  # empty until a site is known for the domain
    trace: bytes = b""
    content: bytes | BlobRef = b""
    header: bytes = b""  # the message's header block if content is a blob, cut to 64 KiB
    attempts: int = 0
    last_attempt: datetime | None = None
    delay_warned: bool = False
    generation: int = 0  # of the configuration by which it was accepted, or last moved
    lane_moves: int = 0  # moves to another lane since the last attempt
    chosen_site: ChosenSite | None = None  # of the last move, if it was to the lane of MX hosts
    resume_from: int = 0  # pending recipients before this one were tried in the unfinished attempt
    overtime: datetime | None = None  # until when it may wait for a last try after its deadline
    hold: Hold | None = None
    waits_until: datetime | None = None  # new mail: held, or deferred without a hold, until then
    released: datetime | None = None  # when the last order that released it came into force
    needs: frozenset[str] = frozenset()
    doubtful_hosts: tuple[str, ...] = ()  # hosts that may have accepted it; the latest is last
    unknown: bytes = field(default=b"", repr=False)

    @property
    def size(self) -> int:
        """Octets of the content to send, before dot-stuffing."""
        body = self.content.size if isinstance(self.content, BlobRef) else len(self.content)
        return len(self.trace) + body

    @property
    def pending(self) -> tuple[QueuedRecipient, ...]:
        """The recipients that still need an attempt."""
        return tuple(r for r in self.recipients if r.state is RecipientState.PENDING)

    @property
    def has_ended(self) -> bool:
        """Whether no recipient needs an attempt any more."""
        return all(r.state is not RecipientState.PENDING for r in self.recipients)

    def without_replies(self) -> "QueueRecord":
        """Return the record with a remark in place of each recipient's last reply."""
        recipients = tuple(
            replace(each, last=LastReply(_LEFT_OUT, each.last.at, each.last.status))
            if each.last is not None
            else each
            for each in self.recipients
        )
        return replace(self, recipients=recipients)

    def next_step(self, **changes: object) -> "QueueRecord":
        """Return the next form of the record: with these changes, one step higher."""
        return replace(self, step=self.step + 1, **changes)  # type: ignore[arg-type]
