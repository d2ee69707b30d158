"""The consumer of the memory spool: consumers share the lanes, and leases never expire."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

from postroad.spool.agreement import Events
from postroad.spool.errors import ClaimLost, SpoolUnavailable
from postroad.spool.event import Event
from postroad.spool.interface import LeasedRecord, Put, Queued
from postroad.spool.lanes.keys import Key
from postroad.spool.lanes.lane import lane_names
from postroad.spool.lanes.owners import DEFAULT_POOL, LaneKey
from postroad.spool.memory.lane_owners import LaneOwners
from postroad.spool.memory.store import MemoryStore
from postroad.spool.memory.stored import StoredRecord
from postroad.spool.puts.accepted import moved
from postroad.spool.record import BlobRef, QueueRecord
from postroad.spool.room import Room


class MemoryLeasedRecord:
    """A leased record."""

    __slots__ = ("lane_key", "places", "stored")

    def __init__(self, stored: StoredRecord, lane_key: LaneKey, places: int) -> None:
        self.stored = stored
        self.lane_key = lane_key
        self.places = places

    @property
    def record(self) -> QueueRecord:
        """The record as it was stored."""
        return self.stored.record

    @property
    def deliveries(self) -> int:
        """How often it was handed out."""
        return self.stored.deliveries


class MemoryConsumer:
    """
    Implements interface.RecordConsumer.

    `stale` is a switch for tests: while it is set, no lease counts as confirmed. `kill` simulates a
    crash: the records in hand come again after ACK_WAIT.
    """

    def __init__(
        self,
        store: MemoryStore,
        owners: LaneOwners,
        events: Events,
        *,
        pool: str,
        room: int,
        room_bytes: int,
    ) -> None:
        self.stale = False
        self._store = store
        self._owners = owners
        self._events = events
        self._pool = pool
        self._pools = {pool}
        self._room = Room(room, room_bytes)
        self._in_hand: dict[Key, MemoryLeasedRecord] = {}
        self._places = 0  # taken places
        self._wake = asyncio.Event()
        self._stopped = False
        self._watching = True
        self._leaving: list[Callable[[LaneKey], None]] = []
        self._count_left_open: Callable[[], Mapping[str, int]] = dict
        self._open_elsewhere: Mapping[str, int] = {}
        self._owners.join(self)
        self._store.watch(self._wake.set)

    @property
    def pool(self) -> str:
        """The pool whose lanes it shares."""
        return self._pool

    async def __aiter__(self) -> AsyncIterator[LeasedRecord]:
        while not self._stopped:
            self._wake.clear()
            leased = self._next() if self._has_room() else None
            if leased is not None:
                yield leased
            else:
                await self._wake.wait()

    def _has_room(self) -> bool:
        return self._places < self._room.places

    def _next(self) -> MemoryLeasedRecord | None:
        for lane_key in sorted(self.lane_keys):
            while (stored := self._store.hand_out(lane_key, self)) is not None:
                if stored.deliveries > 1 and self._store.is_followed(stored):
                    self._store.remove(stored.key)
                elif (put := moved(stored.record, self._store.clock())) is not None:
                    self._store.move(stored.key, put)
                else:
                    return self._hold(stored, lane_key)
        return None

    @property
    def lane_keys(self) -> frozenset[LaneKey]:
        """The lanes that this consumer owns now, of each pool from which it takes."""
        unnamed = self._store.ready_pools() if self._pool == DEFAULT_POOL else ()
        in_hand = {leased.lane_key.pool for leased in self._in_hand.values()}
        return frozenset(
            LaneKey(pool, lane)
            for pool in self._pools.union(unnamed, in_hand)
            for lane in lane_names(self._store.lanes)
            if self._owners.owns(self, pool, lane)
        )

    @property
    def lanes(self) -> frozenset[str]:
        """The lanes that this consumer owns now, of any pool."""
        return frozenset(key.lane for key in self.lane_keys)

    @property
    def lanes_elsewhere(self) -> frozenset[str]:
        """All other lanes."""
        return frozenset(lane_names(self._store.lanes)) - self.lanes

    def on_leaving(self, listener: Callable[[LaneKey], None]) -> None:
        """Call `listener` with each lane of a pool that this consumer leaves to another."""
        self._leaving.append(listener)

    def tell_left_open(self, count: Callable[[], Mapping[str, int]]) -> None:
        """Show the result of `count` to the other consumers."""
        self._count_left_open = count

    @property
    def open_elsewhere(self) -> Mapping[str, int]:
        """The sum of what the other consumers tell in this way."""
        counts = self._owners.left_open(self)
        if counts != self._open_elsewhere:
            self._open_elsewhere = counts
        return self._open_elsewhere

    @property
    def left_open(self) -> Mapping[str, int]:
        """The connections in use at sites of lanes that it left."""
        return self._count_left_open()

    def on_held(self, listener: Callable[[str], None]) -> None:
        """Do nothing: no record is held here."""

    def serves(self, leased: LeasedRecord) -> bool:
        """Whether this consumer still owns the record's lane."""
        return not self._stopped and self._owners.owns(self, *leased.lane_key)

    def on_left(self, lane_keys: frozenset[LaneKey]) -> None:
        """Tell the listeners that these lanes now belong to another consumer."""
        for lane_key in sorted(lane_keys):
            for listener in self._leaving:
                listener(lane_key)

    def _hold(self, stored: StoredRecord, lane_key: LaneKey) -> MemoryLeasedRecord:
        leased = MemoryLeasedRecord(stored, lane_key, self._room.taken_by(_octets(stored.record)))
        self._in_hand[stored.key] = leased
        self._places += leased.places
        return leased

    def fresh(self, leased: LeasedRecord) -> bool:
        """Whether the lease is confirmed: always, unless `stale` is set."""
        return not self.stale and self._of(leased).stored.key in self._in_hand

    async def confirm(self, leased: LeasedRecord) -> bool:
        """Return `fresh`: there is no lease to renew."""
        return self.fresh(leased)

    async def has_ended(self, leased: LeasedRecord) -> bool:
        """Whether another process has ended the record."""
        return self._of(leased).stored.key not in self._store.records

    async def settle(
        self, leased: LeasedRecord, puts: Sequence[Put] = (), events: Sequence[Event] = ()
    ) -> bool:
        """Store the puts, end the record, write the events; wait while the queue is unavailable."""
        stored = self._of(leased).stored
        while puts:
            try:
                names = self._store.names_of(puts, stored.key)
                self._store.append(puts, names)
                break
            except SpoolUnavailable:
                await asyncio.sleep(0.01)
        self._store.remove(stored.key)
        self._let_go(stored.key)
        for event in events:
            self._events.add(event)
        self._delete_body(stored.record, puts)
        return True

    def finish(
        self, leased: LeasedRecord, events: Sequence[Event], ended: Callable[[], None]
    ) -> None:
        """End the record, and write the events."""
        stored = self._of(leased).stored
        self._store.remove(stored.key)
        self._let_go(stored.key)
        for event in events:
            self._events.add(event)
        self._delete_body(stored.record, ())
        ended()

    async def remove(self, queued: Queued, events: Sequence[Event]) -> None:
        """End a waiting record that nothing follows, then write the events."""
        if not queued.may_be_claimed(self._store.clock()) or queued.key not in self._store.records:
            raise ClaimLost("the record is ready, or gone")
        self._store.remove(queued.key)
        for event in events:
            self._events.add(event)
        self._delete_body(queued.record, ())

    def _delete_body(self, record: QueueRecord, puts: Sequence[Put]) -> None:
        body = record.content
        if isinstance(body, BlobRef):
            kept = {p.record.content.blob_id for p in puts if isinstance(p.record.content, BlobRef)}
            if body.blob_id not in kept:
                self._store.end_body(body, record.record_id.destination)

    async def give_back(self, leased: LeasedRecord) -> None:
        """Return a record whose attempt has not begun."""
        key = self._of(leased).stored.key
        self._let_go(key)
        self._store.take_back(key)

    def drop(self, leased: LeasedRecord) -> None:
        """Forget a record; it comes again after ACK_WAIT."""
        key = self._of(leased).stored.key
        self._let_go(key)
        self._store.abandon(key)

    def know_pools(self, pools: Iterable[str]) -> None:
        """Take from these pools as well, while no other consumer does."""
        self._pools.update(pools)

    async def stop(self) -> None:
        """Take nothing more."""
        self._stopped = True
        self._wake.set()

    async def close(self) -> None:
        """Give back the records in hand, and leave the lanes to the others."""
        await self.stop()
        for leased in list(self._in_hand.values()):
            await self.give_back(leased)
        self._leave()

    def kill(self) -> None:
        """Simulate a crash."""
        self._stopped = True
        for key in list(self._in_hand):
            self._in_hand.pop(key)
            self._store.abandon(key)
        self._leave()
        self._wake.set()

    def _leave(self) -> None:
        if self._watching:
            self._watching = False
            self._owners.leave(self)
            self._store.unwatch(self._wake.set)
            self._store.wake()

    def _let_go(self, key: Key) -> None:
        leased = self._in_hand.pop(key, None)
        if leased is not None:
            self._places -= leased.places
            self._wake.set()

    @staticmethod
    def _of(leased: LeasedRecord) -> MemoryLeasedRecord:
        assert isinstance(leased, MemoryLeasedRecord), "a record of another spool"
        return leased


def _octets(record: QueueRecord) -> int:
    return len(record.content) if isinstance(record.content, bytes) else len(record.header)
