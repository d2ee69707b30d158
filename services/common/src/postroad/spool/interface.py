"""
The interface of the queue, which ingress, delivery and the command use; independent of NATS.

It has two implementations: `spool.jetstream` for production, and `spool.memory` for tests,
simulation and readers who want to see the semantics in plain Python. One contract suite runs
against both.

All methods follow one rule. First, what must be kept is published and acknowledged. Second, the
finished record is acknowledged. Events and clean-up come last. A crash between two steps may repeat
work, but never loses it.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from postroad.mail.valueclass import valueclass
from postroad.spool.agreement import (
    Config,
    Events,
    Orders,
    PastLogins,
    QuotaCounters,
    Sessions,
    SiteDirectory,
    SiteRecords,
)
from postroad.spool.backlog import Backlog, Counts
from postroad.spool.event import Event
from postroad.spool.ids import RecordId
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.lanes.owners import LaneKey
from postroad.spool.record import BlobRef, Hold, QueueRecord
from postroad.spool.selection import Selection, WaitKind

# ---------------------------------------------------------------- putting records


@dataclass(frozen=True, slots=True)
class Ready:
    """In its lane, for delivery at once. Lane and pool follow from the record."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """For another try at `due`, when it becomes ready by itself."""

    due: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """Held for an operator until `until` (30 days at most); the reason is in record.hold."""

    until: datetime


QueueState = Ready | Deferred | Held


@valueclass(frozen=True, slots=True)
class Put:
    """A record to store, and its queue state."""

    record: QueueRecord
    place: QueueState


@valueclass(frozen=True, slots=True)
class StoreAck:
    """The mail is stored and fsynced. `sequence` is that of the last record in its intake."""

    queue_id: str
    sequence: int


class BodyWriter(Protocol):
    """Writes a body to the blob store, with a bounded number of chunks in memory."""

    @property
    def held(self) -> int:
        """Octets in memory: their chunk is incomplete, or not acknowledged yet."""

    async def write(self, data: bytes) -> None:
        """Take octets; waits while the window is full. Raises SpoolUnavailable or SpoolFull."""

    async def finish(self, *, destinations: int) -> BlobRef:
        """
        Wait until every chunk is durable and return the reference; raises the errors of `write`.

        `destinations` is how many records will refer to the body: it is deleted when the last of
        them ends.
        """

    async def abort(self) -> None:
        """
        Give up a body unless it is finished. Raises nothing.

        Its stored chunks are deleted, later if that is not possible now.
        """


# ---------------------------------------------------------------- taking records


class LeasedRecord(Protocol):
    """A record that this process has leased; the lease is renewed in the background."""

    @property
    def record(self) -> QueueRecord:
        """The record as it was stored."""

    @property
    def deliveries(self) -> int:
        """How often the queue has handed it out, at least (the queue may forget some)."""

    @property
    def places(self) -> int:
        """How many of the process's places it takes, by its size; see `spool.room`."""

    @property
    def lane_key(self) -> LaneKey:
        """The lane it came from, and the pool of that lane."""


class RecordConsumer(Protocol):
    """Delivery's side of the queue: the records of the lanes this process owns."""

    def __aiter__(self) -> AsyncIterator[LeasedRecord]:
        """Yield records as they come, while there are free places; see `spool.room`."""

    def fresh(self, leased: LeasedRecord) -> bool:
        """Whether the lease was confirmed less than 12 s ago; check this before MAIL."""

    async def confirm(self, leased: LeasedRecord) -> bool:
        """Return `fresh`, after renewing the lease if needed; check this before the final dot."""

    async def has_ended(self, leased: LeasedRecord) -> bool:
        """Whether another process has ended the record; raises SpoolUnavailable."""

    async def settle(
        self, leased: LeasedRecord, puts: Sequence[Put] = (), events: Sequence[Event] = ()
    ) -> bool:
        """
        Store `puts`, wait for the acknowledgement, then end the record, then write the events.

        Return whether that was done. If not, the record comes again unchanged, or another process
        has ended it.

        All `puts` go to the record's shard, all or none of them. It retries until it succeeds or is
        cancelled. If it is interrupted after the puts are stored, the record is not handed out
        again, because a put with a later step has replaced it. A body to which no put refers is
        deleted once no record of its other destinations is left.
        """

    def finish(
        self, leased: LeasedRecord, events: Sequence[Event], ended: Callable[[], None]
    ) -> None:
        """
        Settle a record without puts, in the background.

        `ended` is called when the queue has acknowledged it.
        """

    async def give_back(self, leased: LeasedRecord) -> None:
        """Return a record whose attempt has not begun, for any process to take at once."""

    def drop(self, leased: LeasedRecord) -> None:
        """Forget a record whose lease is in doubt; it comes again when the lease has expired."""

    @property
    def lanes(self) -> frozenset[str]:
        """The lanes that this process owns now, of any pool."""

    @property
    def lanes_elsewhere(self) -> frozenset[str]:
        """All other lanes."""

    def know_pools(self, pools: Iterable[str]) -> None:
        """Take from these pools at once while nobody else does; from others, within seconds."""

    def on_leaving(self, listener: Callable[[LaneKey], None]) -> None:
        """
        Call `listener` with each lane of a pool that this process leaves to another.

        Give back the lane's records that have not begun: the next owner has limits of its own.
        """

    def tell_left_open(self, count: Callable[[], Mapping[str, int]]) -> None:
        """
        Tell the other processes how many connections are in use at sites of lanes that were left.

        `count` returns them by the site's hashed name. It is called before a lane goes to its next
        owner, and repeatedly until there are none.
        """

    @property
    def open_elsewhere(self) -> Mapping[str, int]:
        """
        The sum of what the other processes tell in this way; the same object until it changes.

        What a lane's former owner has open is known before any mail of the lane is handed out.
        """

    def on_held(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the reason for each record that is held instead of handed out."""

    def serves(self, leased: LeasedRecord) -> bool:
        """
        Whether this process still owns the record's lane.

        Check it before the record begins to wait; otherwise nothing would give it back.
        """

    async def remove(self, queued: "Queued", events: Sequence[Event]) -> None:
        """End a waiting record that nothing follows: it takes no room. Raises as a claim does."""

    async def stop(self) -> None:
        """Take nothing more; `__aiter__` ends. Records in hand stay leased until settled."""

    async def close(self) -> None:
        """Give back the records in hand and release the lanes; call it after `stop`."""


# ---------------------------------------------------------------- looking and claiming


@dataclass(frozen=True, slots=True)
class Queued:
    """
    A stored record as the browser finds it; `due` is None when it is ready.

    `stored` is when it was stored in this form, by the servers' clock. `former` is the record that
    it follows from, None if that is unknown.
    """

    record: QueueRecord
    kind: WaitKind
    due: datetime | None
    key: Key
    subject: str
    stored: datetime
    former: Key | None = None

    @property
    def is_coming(self) -> bool:
        """Whether it is new mail that has to wait, and its lane's owner has not moved it yet."""
        return self.due is not None and self.key.stream is QueueStream.INTAKE

    def may_be_claimed(self, now: datetime) -> bool:
        """
        Whether it waits, and for long enough that the queue cannot be making it ready already.

        The queue makes a record ready in two steps, first copying and then storing it. A claim
        between the two would duplicate the record.
        """
        return self.due is not None and not self.is_coming and now < self.due - CLAIM_MARGIN


class QueueBrowser(Protocol):
    """Reads the queue without consuming it, and claims waiting records."""

    def list(self, selection: Selection, *, at_once: int | None = None) -> AsyncIterator[Queued]:
        """
        Yield the selected records, shard by shard, in pages, so that memory is bounded.

        `at_once` is the size of a page; use 1 to get only the first record.
        """

    async def deferred(self, record_id: RecordId, *, domain: str, lane: str) -> Queued | None:
        """Return the deferred record with this id in a lane; None when there is none."""

    async def counts(self) -> Counts:
        """Return numbers and ages of records by kind, class (of ready ones) and domain."""

    async def backlog(self) -> Backlog:
        """Return the backlog, at a cost that does not grow with the number of deferred records."""

    async def claim(self, queued: Queued, puts: Sequence[Put], now: datetime) -> None:
        """
        Replace a waiting (deferred or held) record by `puts`, exactly once.

        The first put replaces the record in one atomic step. Raises ClaimLost when another process
        was faster, or the record becomes ready by itself within seconds (`may_be_claimed`), and
        SpoolUnavailable while it is coming. A claim needs a put, so that no record is dropped.
        """


# ---------------------------------------------------------------- the whole


class Spool(Protocol):
    """The whole queue."""

    @property
    def config(self) -> Config:
        """The compiled configuration."""

    @property
    def events(self) -> Events:
        """The history of mail."""

    @property
    def orders(self) -> Orders:
        """Operators' orders."""

    @property
    def sessions(self) -> Sessions:
        """The live processes."""

    @property
    def site_records(self) -> SiteRecords:
        """Records that the processes sending to one site share."""

    @property
    def sites(self) -> SiteDirectory:
        """The site directory."""

    @property
    def usage(self) -> QuotaCounters:
        """Quota usage."""

    @property
    def past_logins(self) -> PastLogins:
        """Which clients have logged in."""

    @property
    def waiting(self) -> QueueBrowser:
        """The queue browser."""

    @property
    def accepting(self) -> bool:
        """Whether the queue accepts new mail: connected, provisioned, and not nearly full."""

    def refusal(self) -> Exception | None:
        """Why the queue refuses new mail (SpoolUnavailable, SpoolFull), None if it accepts it."""

    def new_queue_id(self, now: datetime) -> str:
        """Return a new queue id in a shard that accepts mail."""

    def write_body(self, *, lifetime: timedelta, known: bool = True) -> BodyWriter:
        """
        Begin a body in the blob store, for new mail that is given up `lifetime` from now.

        The body is kept longer than that (`jetstream.bodies.lifetime.time_to_live`). `known` says
        that it is a Client's: when room for unfinished content becomes scarce, strangers are
        refused first.
        """

    def read_body(self, record: QueueRecord) -> AsyncIterator[bytes]:
        """
        Yield `trace`, then the content, in chunks of at most 512 KiB.

        Chunk count, size and checksum are checked before the last chunk is yielded. Raises
        BodyMissing, BodyCorrupt, SpoolUnavailable.
        """

    async def accept(
        self,
        queue_id: str,
        compose: Callable[[str], Sequence[Put]],
        *,
        timeout: timedelta,
    ) -> StoreAck:
        """
        Store a new message's records, all or none, and return when they are durable.

        `compose` makes the puts for a queue id. It is called again with another id when the first
        id's shard certainly refuses. PublishRefused, SpoolFull and RecordTooLarge mean that nothing
        is stored; with any other SpoolUnavailable that is unknown. What has to wait is listed as
        such at once, and the owner of its lane moves it there.
        """

    def take(self, *, pool: str, room: int, room_bytes: int) -> RecordConsumer:
        """Begin to consume records, as one of the processes that own a pool's lanes."""

    def lane_of(self, record: QueueRecord) -> str:
        """Return the lane of a record, by its site, else by its domain."""

    async def close(self) -> None:
        """Write what is buffered, end the session, disconnect."""


HOLD_LIMIT = timedelta(days=30)
# The time that a claim may take, and as much again for differing clocks.
CLAIM_TIMEOUT = timedelta(seconds=5)
CLAIM_MARGIN = CLAIM_TIMEOUT + timedelta(seconds=5)


def held(record: QueueRecord, hold: Hold, *, now: datetime) -> Put:
    """Return the put that holds a record for the longest time allowed."""
    return Put(record.next_step(hold=hold, resume_from=0), Held(now + HOLD_LIMIT))
