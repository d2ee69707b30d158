"""
The queue as ingress, delivery and the command see it: every promise, and no word of NATS.

Two homes keep these promises: `spool.jetstream` for real, `spool.memory` for tests, simulation and
anyone who wants to read the semantics in plain Python. One contract suite runs against both.

The rule behind every method: what must be kept is published and acknowledged first, what is done
is acknowledged second, and everything else (events, clean-up) comes last. A crash between two of
them may repeat work, never lose it.
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
from postroad.spool.record import BlobRef, Hold, QueueRecord
from postroad.spool.selection import Selection, WaitKind

# ---------------------------------------------------------------- putting records


@dataclass(frozen=True, slots=True)
class Ready:
    """In its lane, to be taken at once. Lane and pool follow from the record."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """Waiting until `due`, then ready by itself."""

    due: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """Waiting for a person until `until` (30 days at most); the reason stands in record.hold."""

    until: datetime


QueueState = Ready | Scheduled | Held


@valueclass(frozen=True, slots=True)
class Put:
    """A record and where it goes."""

    record: QueueRecord
    place: QueueState


@valueclass(frozen=True, slots=True)
class StoreAck:
    """The queue's word: stored and fsynced. `sequence` is the last record's in its shard."""

    queue_id: str
    sequence: int


class BodyWriter(Protocol):
    """A body on its way into the blob store, a bounded window of chunks in memory at a time."""

    @property
    def held(self) -> int:
        """Octets that are in memory: their chunk is not whole, or on its way."""

    async def write(self, data: bytes) -> None:
        """Take octets, waiting while the window is full; SpoolUnavailable or SpoolFull if not."""

    async def finish(self, *, destinations: int) -> BlobRef:
        """
        Wait until every chunk is durable and return the reference; the same errors as write.

        `destinations` is how many records will refer to it: it is deleted as the last of them ends.
        """

    async def abort(self) -> None:
        """
        Give up a body that is not finished; one that is stays as it is. Raises nothing.

        What is stored of it is deleted, later if that cannot be now.
        """


# ---------------------------------------------------------------- taking records


class LeasedRecord(Protocol):
    """A record in this process's hands, by a lease that is extended in the background."""

    @property
    def record(self) -> QueueRecord:
        """The record as it was stored."""

    @property
    def deliveries(self) -> int:
        """How often the queue handed it out, at least (the queue may have forgotten some)."""

    @property
    def places(self) -> int:
        """How many of the process's places it takes, by its octets; see `spool.room`."""

    @property
    def lane(self) -> str:
        """The lane it came from."""


class RecordConsumer(Protocol):
    """Delivery's side of the queue: the records of the lanes this process owns."""

    def __aiter__(self) -> AsyncIterator[LeasedRecord]:
        """Yield records as they come, while there are places; see `spool.room`."""

    def fresh(self, leased: LeasedRecord) -> bool:
        """Whether the lease was confirmed less than 12 s ago: ask before MAIL."""

    async def confirm(self, leased: LeasedRecord) -> bool:
        """Whether it is fresh, asking the queue once when it is not: ask before the final dot."""

    async def settle(
        self, leased: LeasedRecord, puts: Sequence[Put] = (), events: Sequence[Event] = ()
    ) -> bool:
        """
        Put what follows, wait for the acknowledgement, then end the record, then write the events.

        Return whether that was done. Otherwise the record comes again as it was, or has ended in
        other hands.

        All `puts` go to the record's shard, all or none of them. Repeats until it succeeds, so it
        returns or is cancelled. When it is cut off between the two, the record is not handed out
        again: a later form of it, by its step, has taken its place. A body to which no put refers
        is deleted when no record of its other destinations is left either.
        """

    def finish(
        self, leased: LeasedRecord, events: Sequence[Event], ended: Callable[[], None]
    ) -> None:
        """
        Settle a record of which nothing follows, behind the caller's back.

        `ended` is called when the queue has heard of it.
        """

    async def give_back(self, leased: LeasedRecord) -> None:
        """Return a record that was not begun, for anyone to take at once."""

    def drop(self, leased: LeasedRecord) -> None:
        """Let go of a record whose lease is in doubt; it comes again when the lease has run out."""

    @property
    def lanes(self) -> frozenset[str]:
        """The lanes that are this process's now, of whatever pool."""

    @property
    def lanes_elsewhere(self) -> frozenset[str]:
        """All other lanes, whoever has them."""

    def know_pools(self, pools: Iterable[str]) -> None:
        """
        Also take from these pools while they have no members of their own, at once.

        From any other pool that has none `default` takes too, within seconds.
        """

    def on_leaving(self, listener: Callable[[str], None]) -> None:
        """
        Call `listener` with each lane that is left to another process.

        What has not begun of it should be given back: the next owner has limits of its own.
        """

    def tell_left_open(self, count: Callable[[], Mapping[str, int]]) -> None:
        """
        Tell all others what `count` returns: connections in use where lanes were left, by name.

        It is asked before a lane goes to its next owner, and time and again until it is nothing.
        """

    @property
    def open_elsewhere(self) -> Mapping[str, int]:
        """
        What the others tell so, in all; the same object until it changes.

        Of a lane's former owner it is known before any mail of the lane is handed out.
        """

    def on_held(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the reason for each record that is held instead of handed out."""

    def serves(self, leased: LeasedRecord) -> bool:
        """
        Whether a record's lane has not been left since, nor all of them, at the end.

        To be asked before it begins to wait: nobody would give it back.
        """

    async def stop(self) -> None:
        """Take nothing more; `__aiter__` ends. What is in hand stays leased until it is settled."""

    async def close(self) -> None:
        """Give back what is in hand and release the lanes; after stop."""


# ---------------------------------------------------------------- looking and claiming


@dataclass(frozen=True, slots=True)
class Queued:
    """
    A stored record as a look from outside finds it; `due` None when it is ready.

    `stored`: since when it waits in this form, by the servers' clock.
    `former` is the sequence of the record that it follows from, 0 where none is known.
    """

    record: QueueRecord
    kind: WaitKind
    due: datetime | None
    sequence: int
    subject: str
    stored: datetime
    former: int = 0

    def may_be_claimed(self, now: datetime) -> bool:
        """
        Whether it waits, and for so long yet that the queue cannot be making it ready already.

        The queue does that in two steps, a copy and then its storing: a claim between the two
        would make two of one record.
        """
        return self.due is not None and now < self.due - CLAIM_MARGIN


class QueueBrowser(Protocol):
    """Looking at the queue without consuming it, and claiming what waits."""

    def list(self, selection: Selection, *, at_once: int | None = None) -> AsyncIterator[Queued]:
        """
        Yield what fits, shard by shard, in pages: bounded memory whatever the queue's length.

        `at_once` records are read at a time; 1 suits who needs the first alone.
        """

    async def scheduled(self, record_id: RecordId, *, domain: str, lane: str) -> Queued | None:
        """Return the record of this id that waits for its time in a lane; None when none does."""

    async def counts(self) -> Counts:
        """Return how many there are, and how old, by kind, class (of ready ones) and domain."""

    async def backlog(self) -> Backlog:
        """Return how much there is to do, at a cost that does not grow with what is deferred."""

    async def claim(self, queued: Queued, puts: Sequence[Put], now: datetime) -> None:
        """
        Replace a waiting (scheduled or held) record by `puts`, at once and only once.

        The first put takes the record's place in one atomic step; ClaimLost when somebody was
        faster, or when the record becomes ready by itself within seconds (`may_be_claimed`). A
        claim without puts is not possible: nothing is dropped.
        """


# ---------------------------------------------------------------- the whole


class Spool(Protocol):
    """The queue, whole."""

    @property
    def config(self) -> Config:
        """The compiled configuration."""

    @property
    def events(self) -> Events:
        """The history of mail."""

    @property
    def orders(self) -> Orders:
        """Admin orders."""

    @property
    def sessions(self) -> Sessions:
        """Who is alive."""

    @property
    def site_records(self) -> SiteRecords:
        """What the processes that send to one site have agreed on."""

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
        """Records that wait, to be looked at and acted on."""

    @property
    def accepting(self) -> bool:
        """Whether new mail would be taken now: connected, provisioned, and not near full."""

    def refusal(self) -> Exception | None:
        """Why new mail would not be taken now (SpoolUnavailable, SpoolFull), None if it would."""

    def new_queue_id(self, now: datetime) -> str:
        """Draw a queue id in a shard that takes mail."""

    def write_body(self, *, lifetime: timedelta, known: bool = True) -> BodyWriter:
        """
        Begin a body in the blob store, for new mail that is given up `lifetime` from now.

        It lives longer than that: `body_life.time_to_live`. `known` is a Client's: where the room
        for content that is not finished becomes scarce, strangers are refused first.
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

        `compose` makes the puts for a queue id; it is asked again with another id when the first
        id's shard refuses for certain. Refused, SpoolFull and RecordTooLarge say that nothing is
        stored, by no try; any other SpoolUnavailable leaves that open.
        """

    def take(self, *, pool: str, room: int, room_bytes: int) -> RecordConsumer:
        """Join the owners of a pool's lanes."""

    def lane_of(self, record: QueueRecord) -> str:
        """Return the lane a record belongs in, by its site, else its domain."""

    async def close(self) -> None:
        """Write what is buffered, end the session, disconnect."""


HOLD_LIMIT = timedelta(days=30)
# What a claim may take, and as much again for clocks that differ.
CLAIM_TIMEOUT = timedelta(seconds=5)
CLAIM_MARGIN = CLAIM_TIMEOUT + timedelta(seconds=5)


def held(record: QueueRecord, hold: Hold, *, now: datetime) -> Put:
    """Return the put that holds a record from `now` for as long as mail may be held."""
    return Put(record.next_step(hold=hold, resume_from=0), Held(now + HOLD_LIMIT))
