"""
The queue in memory, in plain Python: the same interface as in JetStream, but without durability.

It is for tests, for simulation, and for readers who want to see the semantics without NATS. Several
MemorySpools on one MemoryCluster stand for several processes of one cluster.
"""

import hashlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid4

from postroad.mail.traffic import TrafficClass
from postroad.spool.agreement import SessionInfo
from postroad.spool.backlog import Backlog, Counts, Tally
from postroad.spool.errors import (
    BodyCorrupt,
    BodyMissing,
    ClaimLost,
    SpoolFull,
    SpoolUnavailable,
)
from postroad.spool.ids import RecordId, new_queue_id
from postroad.spool.interface import Put, Queued, StoreAck
from postroad.spool.memory.agreement import (
    Agreement,
    MemoryConfig,
    MemoryEvents,
    MemoryOrders,
    MemoryPastLogins,
    MemoryQuotaCounters,
    MemorySessions,
    MemorySiteDirectory,
    MemorySiteRecords,
)
from postroad.spool.memory.consumer import MemoryConsumer
from postroad.spool.memory.lane_owners import LaneOwners
from postroad.spool.memory.store import MemoryStore
from postroad.spool.record import BlobRef, QueueRecord
from postroad.spool.selection import Selection, WaitKind

CHUNK = 512 * 1024
_DEFERRED = frozenset({WaitKind.DEFERRED})


@dataclass
class MemoryCluster:
    """The state that the spools of one cluster share."""

    store: MemoryStore = field(default_factory=MemoryStore)
    agreement: Agreement = field(default_factory=Agreement)
    owners: LaneOwners = field(default_factory=LaneOwners)


class MemoryBodyWriter:
    """Implements interface.BodyWriter."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._chunks: list[bytes] = []
        self._buffer = bytearray()
        self._digest = hashlib.sha256()
        self._size = 0

    @property
    def held(self) -> int:
        """Octets that are not in a chunk yet."""
        return len(self._buffer)

    async def write(self, data: bytes) -> None:
        """Take octets."""
        self._refuse_if_away()
        self._buffer += data
        self._digest.update(data)
        self._size += len(data)
        while len(self._buffer) >= CHUNK:
            self._chunks.append(bytes(self._buffer[:CHUNK]))
            del self._buffer[:CHUNK]

    async def finish(self, *, destinations: int) -> BlobRef:
        """Store the body and return its reference."""
        self._refuse_if_away()
        if self._buffer or not self._chunks:
            self._chunks.append(bytes(self._buffer))
        blob_id = uuid4().hex
        self._store.bodies[blob_id] = list(self._chunks)
        digest = self._digest.digest()
        return BlobRef(0, blob_id, len(self._chunks), self._size, digest, destinations)

    async def abort(self) -> None:
        """Give the body up, unless it is finished."""
        self._chunks.clear()
        self._buffer.clear()

    def _refuse_if_away(self) -> None:
        if not self._store.available:
            raise SpoolUnavailable("the queue is unavailable")
        if self._store.full:
            raise SpoolFull("the queue is full")


class MemoryBrowser:
    """Implements interface.QueueBrowser."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def list(
        self, selection: Selection, *, at_once: int | None = None
    ) -> AsyncIterator[Queued]:
        """Yield the selected records, in the order in which they were stored."""
        for queued in self._store.look():
            if selection.admits(queued.record, queued.kind, self._store.lane_of(queued.record)):
                yield queued

    async def deferred(self, record_id: RecordId, *, domain: str, lane: str) -> Queued | None:
        """Return the deferred record with this id in a lane; None when there is none."""
        selection = Selection(domain=domain, kinds=_DEFERRED, lanes=frozenset({lane}))
        found = [queued async for queued in self.list(selection)]
        return next((each for each in found if each.record.record_id == record_id), None)

    async def counts(self) -> Counts:
        """Count records by kind, class (of ready ones) and domain."""
        counts: dict[tuple[WaitKind, TrafficClass | None, str], Tally] = {}
        for queued in self._store.look():
            record, ready = queued.record, queued.kind is WaitKind.READY
            key = (queued.kind, record.traffic_class if ready else None, record.domain)
            tally = Tally(1, None if ready else record.arrival)
            counts[key] = counts[key].plus(tally) if key in counts else tally
        return counts

    async def backlog(self) -> Backlog:
        """Count ready records by pool and class, and deferred and held ones."""
        ready: dict[tuple[str, TrafficClass], int] = {}
        waiting = dict.fromkeys(WaitKind, 0)
        oldest: dict[WaitKind, datetime] = {}
        for queued in self._store.look():
            record, kind = queued.record, queued.kind
            if kind is WaitKind.READY:
                key = record.pool, record.traffic_class
                ready[key] = ready.get(key, 0) + 1
            waiting[kind] += 1
            oldest[kind] = min(record.arrival, oldest.get(kind, record.arrival))
        return Backlog(ready, waiting[WaitKind.DEFERRED], waiting[WaitKind.HELD], oldest)

    async def claim(self, queued: Queued, puts: Sequence[Put], now: datetime) -> None:
        """Replace a waiting record by `puts`, exactly once."""
        if not puts:
            raise ValueError("a claim needs a put that replaces the record")
        if queued.is_coming:
            raise SpoolUnavailable("the record is not where it will wait yet")
        if not queued.may_be_claimed(now):
            raise ClaimLost("the record is ready, or about to become ready")
        self._store.replace(queued.key, puts)


class MemorySpool:
    """Implements interface.Spool."""

    def __init__(
        self,
        cluster: MemoryCluster | None = None,
        *,
        role: str = "delivery",
        process: str = "memory",
        pool: str = "default",
    ) -> None:
        self.cluster = cluster or MemoryCluster()
        self.store = self.cluster.store
        agreement = self.cluster.agreement
        info = SessionInfo(uuid4().hex, role, process, pool, 0, self.store.clock())
        self.config = MemoryConfig(agreement)
        self.events = MemoryEvents(agreement)
        self.orders = MemoryOrders(agreement, self.store.clock)
        self.sessions = MemorySessions(agreement, info)
        self.site_records = MemorySiteRecords(
            agreement, info.session_id, is_full=lambda: self.store.full
        )
        self.sites = MemorySiteDirectory(agreement)
        self.usage = MemoryQuotaCounters(agreement)
        self.past_logins = MemoryPastLogins(agreement)
        self.waiting = MemoryBrowser(self.store)

    @property
    def accepting(self) -> bool:
        """Whether the queue accepts new mail."""
        return self.refusal() is None

    def refusal(self) -> Exception | None:
        """Why the queue refuses new mail, None if it accepts it."""
        if not self.store.available:
            return SpoolUnavailable("the queue is unavailable")
        return SpoolFull("the queue is full") if self.store.full else None

    def new_queue_id(self, now: datetime) -> str:
        """Return a new queue id."""
        return new_queue_id(now, random.randrange(self.store.shards))

    def write_body(self, *, lifetime: timedelta, known: bool = True) -> MemoryBodyWriter:
        """Begin a body; it stays until it is deleted."""
        return MemoryBodyWriter(self.store)

    async def read_body(self, record: QueueRecord) -> AsyncIterator[bytes]:
        """Yield trace and content; check a body before its last chunk is yielded."""
        if record.trace:
            yield record.trace
        body = record.content
        if isinstance(body, bytes):
            yield body
            return
        chunks = self.store.bodies.get(body.blob_id)
        if chunks is None:
            raise BodyMissing(f"no body {body.blob_id}")
        whole = hashlib.sha256(b"".join(chunks)).digest()
        if len(chunks) != body.chunks or whole != body.sha256:
            raise BodyCorrupt(f"body {body.blob_id} does not match its record")
        for chunk in chunks:
            yield chunk

    async def accept(
        self, queue_id: str, compose: Callable[[str], Sequence[Put]], *, timeout: timedelta
    ) -> StoreAck:
        """Store a new message's records, all or none."""
        puts = compose(queue_id)
        return StoreAck(queue_id, self.store.accept(puts).sequence)

    def take(self, *, pool: str, room: int, room_bytes: int) -> MemoryConsumer:
        """Begin to consume records, as one of the consumers that own a pool's lanes."""
        store, owners = self.store, self.cluster.owners
        return MemoryConsumer(
            store, owners, self.events, pool=pool, room=room, room_bytes=room_bytes
        )

    def lane_of(self, record: QueueRecord) -> str:
        """Return the lane of a record."""
        return self.store.lane_of(record)

    async def close(self) -> None:
        """End the session."""
        self.sessions.end()
