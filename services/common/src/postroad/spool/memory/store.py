"""
The records, schedules, leases and bodies that a cluster of memory spools shares.

It has the semantics of the queue in plain Python, with the visible properties of JetStream: message
ids are remembered for the duplicate window, several puts are stored together or not at all, a
record comes again ACK_WAIT after its holder died, and a schedule becomes ready when it is due. New
mail is in the intake, all of it ready to be taken, and each stream has its own ids and sequences.
Nothing is durable. `available` and `full` are switches for tests and simulations. A lease expires
only for holders that call `lease`, and only `restart` loses anything.
"""

import asyncio
import heapq
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from postroad.mail.traffic import TrafficClass
from postroad.spool.errors import ClaimLost, SpoolFull, SpoolUnavailable
from postroad.spool.interface import Put, Queued, Ready
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.lanes.lane import lane_of
from postroad.spool.memory.stored import StoredRecord, kind_and_due
from postroad.spool.puts.accepted import as_accepted
from postroad.spool.puts.message_id import message_id
from postroad.spool.record import BlobRef, QueueRecord
from postroad.spool.selection import WaitKind

ACK_WAIT = timedelta(seconds=20)
DUPLICATE_WINDOW = timedelta(minutes=5)

MemoryLane = tuple[str, str]  # pool and lane
MemoryLine = tuple[TrafficClass, QueueStream]
MessageId = tuple[QueueStream, str]


def utc_now() -> datetime:
    """Return the wall clock's time, in UTC."""
    return datetime.now(UTC)


@dataclass
class MemoryStore:
    """The records and bodies of a cluster of memory spools."""

    clock: Callable[[], datetime] = utc_now
    shards: int = 4
    lanes: int = 8
    available: bool = True
    full: bool = False
    bodies: dict[str, list[bytes]] = field(default_factory=dict)
    records: dict[Key, StoredRecord] = field(default_factory=dict)
    on_fired: Callable[[Key], None] = lambda _: None
    _ended_of: dict[str, set[int]] = field(default_factory=dict)  # ended destinations of bodies
    _ready: dict[MemoryLane, dict[MemoryLine, deque[Key]]] = field(default_factory=dict)
    _due: list[tuple[datetime, Key]] = field(default_factory=list)
    _seen: OrderedDict[MessageId, tuple[datetime, Key]] = field(default_factory=OrderedDict)
    _last: Counter[tuple[QueueStream, int]] = field(default_factory=Counter)
    _wakers: list[Callable[[], None]] = field(default_factory=list)
    _timer: asyncio.TimerHandle | None = None
    # The store has its own context, so that its timer does not run in a caller's context.
    _context: Context = field(default_factory=copy_context)

    # ------------------------------------------------------------ storing

    def names_of(self, puts: Sequence[Put], origin: Key | None) -> Sequence[str]:
        """Return the message ids of puts that follow from a record, None for new mail."""
        return [message_id(put, self.lane_of(put.record), origin) for put in puts]

    def append(
        self,
        puts: Sequence[Put],
        names: Sequence[str],
        *,
        stream: QueueStream = QueueStream.WAITING,
        follows: Sequence[Key | None] = (),
    ) -> Key:
        """
        Store all puts or none in a stream, return the last one's key; a repetition changes nothing.

        A repetition is recognised by its message id. A full store refuses only new mail, because
        settling must go on.
        """
        if not self.available:
            raise SpoolUnavailable("the queue is unavailable")
        if self.full and stream is QueueStream.INTAKE:
            raise SpoolFull("the queue is full")
        self._forget_old_ids()
        for name in names:
            if (stream, name) in self._seen:
                return self._seen[stream, name][1]
        former = follows or [None] * len(puts)
        for name, put, follows_from in zip(names, puts, former, strict=True):
            key = self._store(stream, put, follows_from)
            self._seen[stream, name] = (self.clock(), key)
        self.wake()
        return key

    def replace(self, key: Key, puts: Sequence[Put]) -> None:
        """Replace a waiting record, once; ClaimLost when it is not waiting any more."""
        stored = self.records.get(key)
        if stored is None or stored.kind is WaitKind.READY:
            raise ClaimLost(f"record {key.token} is not waiting any more")
        self.append(puts, self.names_of(puts, key))
        self.remove(key)

    def move(self, key: Key, put: Put) -> None:
        """Store new mail that has to wait where it waits, as the owner of its lane does."""
        self._store(QueueStream.WAITING, put, key)
        self.remove(key)
        self.wake()

    def remove(self, key: Key) -> None:
        """Remove a record in any state."""
        self.records.pop(key, None)

    def accept(self, puts: Sequence[Put]) -> Key:
        """Store new mail in the intake, all or none; return the last one's key."""
        new = [Put(as_accepted(put), Ready()) for put in puts]
        return self.append(new, self.names_of(puts, None), stream=QueueStream.INTAKE)

    def _store(self, stream: QueueStream, put: Put, follows: Key | None) -> Key:
        shard = put.record.record_id.shard
        self._last[stream, shard] += 1
        key = Key(stream, shard, self._last[stream, shard])
        kind, due = kind_and_due(put)
        if due is not None:
            self._supersede(kind, put.record)
        self.records[key] = StoredRecord(key, put.record, kind, due, self.clock(), follows=follows)
        if due is None:
            self._make_ready(key)
        else:
            self._schedule(due, key)
        return key

    def _supersede(self, kind: WaitKind, record: QueueRecord) -> None:
        """Remove an older waiting form of a record; a waiting record has a subject of its own."""
        for key, stored in list(self.records.items()):
            if stored.kind is kind and stored.record.record_id == record.record_id:
                self.remove(key)

    def _make_ready(self, key: Key) -> None:
        stored = self.records[key]
        stored.kind, stored.due = WaitKind.READY, None
        stored.holder = stored.lapses = None
        record = stored.record
        classes = self._ready.setdefault(
            (record.pool, self.lane_of(record)),
            {(kind, stream): deque() for kind in TrafficClass for stream in QueueStream},
        )
        classes[record.traffic_class, key.stream].append(key)

    def lane_of(self, record: QueueRecord) -> str:
        """Return the lane of a record."""
        return lane_of(record, self.lanes)

    def ready_pools(self) -> frozenset[str]:
        """Return the pools that have had ready records."""
        return frozenset(pool for pool, _ in self._ready)

    def end_body(self, body: BlobRef, destination: int) -> None:
        """Note that a destination of a body has ended; the last one deletes the body."""
        ended = self._ended_of.setdefault(body.blob_id, set())
        ended.add(destination)
        if len(ended) == body.destinations:
            self.bodies.pop(body.blob_id, None)
            del self._ended_of[body.blob_id]

    # ------------------------------------------------------------ handing out

    def hand_out(
        self, lane: MemoryLane, holder: object, only: Collection[MemoryLine] | None = None
    ) -> StoredRecord | None:
        """Hand out a lane's next record, transactional before bulk; None when there is none."""
        for line, queue in self._ready.get(lane, {}).items():
            while queue and (only is None or line in only):
                stored = self.records.get(queue.popleft())
                if stored is None or stored.kind is not WaitKind.READY or stored.holder:
                    continue
                stored.holder = holder
                stored.deliveries += 1
                return stored
        return None

    def is_followed(self, stored: StoredRecord) -> bool:
        """Whether a later form of a record is stored, as after an interrupted settle."""
        record = stored.record
        return any(
            other.record.record_id == record.record_id and other.record.step > record.step
            for key, other in self.records.items()
            if key.stream is QueueStream.WAITING and key > stored.key
        )

    def take_back(self, key: Key) -> None:
        """Make a record that was handed out ready again at once."""
        if key in self.records:
            self._make_ready(key)
            self.wake()

    def abandon(self, key: Key) -> None:
        """Note that the holder is gone: the record comes again when its lease has expired."""
        if key in self.records:
            self._schedule(self.clock() + ACK_WAIT, key)

    def lease(self, key: Key, lasts: timedelta = ACK_WAIT) -> None:
        """Lease a record in hand: it comes again after this time, unless the lease is renewed."""
        stored = self.records.get(key)
        if stored is not None and stored.holder is not None:
            stored.lapses = self.clock() + lasts
            self._schedule(stored.lapses, key)

    def restart(self) -> None:
        """
        Lose what a restart of all servers loses: the leases and the delivery counts.

        Message ids of removed records are lost, too: the duplicate window is rebuilt from the
        stored records.
        """
        self._seen = OrderedDict(
            (name, seen) for name, seen in self._seen.items() if seen[1] in self.records
        )
        self._ready.clear()
        for key, stored in sorted(self.records.items()):
            if stored.kind is WaitKind.READY:
                stored.deliveries = 0
                self._make_ready(key)
        self.wake()

    # ------------------------------------------------------------ time

    def tick(self) -> None:
        """Make due records ready; call this after the clock was moved."""
        now = self.clock()
        while self._due and self._due[0][0] <= now:
            _, key = heapq.heappop(self._due)
            stored = self.records.get(key)
            if stored is None or (stored.due is not None and stored.due > now):
                continue
            if stored.lapses is not None and stored.lapses > now:
                continue
            if stored.due is not None:
                stored.fired = True
                self.on_fired(key)
            self._make_ready(key)
        self.wake()
        self._arm()

    def _schedule(self, due: datetime, key: Key) -> None:
        heapq.heappush(self._due, (due, key))
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due and self._wakers:
            delay = max(0.0, (self._due[0][0] - self.clock()).total_seconds())
            self._timer = asyncio.get_running_loop().call_later(
                delay, self.tick, context=self._context
            )

    def _forget_old_ids(self) -> None:
        oldest_kept = self.clock() - DUPLICATE_WINDOW
        while self._seen and next(iter(self._seen.values()))[0] < oldest_kept:
            self._seen.popitem(last=False)

    # ------------------------------------------------------------ watching

    def watch(self, waker: Callable[[], None]) -> None:
        """Call `waker` whenever there may be a new record to take."""
        self._wakers.append(waker)
        self._arm()

    def unwatch(self, waker: Callable[[], None]) -> None:
        """End a watch; the last one stops the store's timer."""
        self._wakers.remove(waker)
        self._arm()

    def wake(self) -> None:
        """Tell every consumer that there may be a new record."""
        for waker in self._wakers:
            waker()

    def look(self) -> list[Queued]:
        """Return every stored record, in order, as the browser returns it."""
        return [
            Queued(stored.record, *stored.shown, key, f"memory.{key.token}", stored.at)
            for key, stored in sorted(self.records.items())
        ]
