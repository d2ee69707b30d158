"""
A process's side of the queue: parts of the real spool over the simulated connection.

The publisher, the pulls, the leases, settling, claims, membership, lane ownership and quota usage
are the product's own. Parts that cannot lose or repeat mail (configuration, orders, sites, events,
bodies) are those of MemorySpool.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import uuid4

from postroad.delivery.context import LONG_ENOUGH
from postroad.spool.agreement import SessionInfo
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.ids import RecordId, shard_of
from postroad.spool.interface import LeasedRecord, Put, Queued, StoreAck
from postroad.spool.jetstream.bodies.ends import BodyEnds
from postroad.spool.jetstream.bodies.store import LARGE_WHEN_WAITING, Blobs
from postroad.spool.jetstream.bodies.streams import BodyStreams
from postroad.spool.jetstream.browse import JetStreamBrowser
from postroad.spool.jetstream.cluster.ended import EndedMail
from postroad.spool.jetstream.cluster.ended_in_packs import EndedInPacks
from postroad.spool.jetstream.cluster.event_log import JetStreamEvents
from postroad.spool.jetstream.cluster.quota_counters import JetStreamQuotaCounters
from postroad.spool.jetstream.cluster.sessions.membership import Membership
from postroad.spool.jetstream.cluster.sessions.takers import Takers
from postroad.spool.jetstream.cluster.site_records import JetStreamSiteRecords
from postroad.spool.jetstream.consume.consumer import JetStreamConsumer
from postroad.spool.jetstream.consume.leased import ConsumerContext, JetStreamLeasedRecord
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.publish.committer import Committer
from postroad.spool.jetstream.publish.publisher import Publisher
from postroad.spool.jetstream.streams.capacity import Capacity
from postroad.spool.jetstream.streams.provision import PRESENCE
from postroad.spool.jetstream.streams.subjects import waiting_subject
from postroad.spool.jetstream.timings import Timings
from postroad.spool.lanes.keys import Key
from postroad.spool.lanes.layout import Layout
from postroad.spool.memory.spool import MemoryBrowser, MemoryCluster, MemorySpool
from postroad.spool.memory.store import MemoryStore
from postroad.spool.record import BlobRef, QueueRecord
from postroad.spool.selection import Selection, WaitKind
from postroad_harness.simulation.buckets import SimulatedBucket
from postroad_harness.simulation.link import SimulatedLink
from postroad_harness.simulation.packs.history import EndedBefore, History

_LOOK_AGAIN = 0.2  # seconds
LAYOUT = Layout(shards=1, lanes=3, replicas=1)


class WatchedConsumer(JetStreamConsumer):
    """Reports each time the product decides that an attempt may begin or a final dot be sent."""

    on_permitted: Callable[[Key, SimulatedLink], None]
    site_records = JetStreamSiteRecords
    publisher = Publisher
    history = EndedBefore
    long_enough = LONG_ENOUGH

    def fresh(self, leased: LeasedRecord) -> bool:
        """Ask the product, and tell of a yes."""
        fresh = super().fresh(leased)
        if fresh:
            assert isinstance(leased, JetStreamLeasedRecord)
            self.on_permitted(leased.key, cast(SimulatedLink, self._tools.link))
        return fresh


class _PatientCommitter(Committer):
    """Gathers mail for a while, as little of it comes at once."""

    gathering = 0.03


class _BodyEnds:
    """What has ended of the memory store's bodies."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def add(self, record: QueueRecord) -> None:
        if isinstance(record.content, BlobRef):
            self._store.end_body(record.content, record.record_id.destination)

    async def close(self) -> None:
        """Nothing is written late."""


class _Bodies:
    """Bodies of the memory store, for settling."""

    async def moved_out(
        self, record: QueueRecord, shard: int, *, lifetime: timedelta
    ) -> QueueRecord:
        assert shard == record.record_id.shard
        content = record.content
        assert isinstance(content, BlobRef) or len(content) <= LARGE_WHEN_WAITING, str(lifetime)
        return record

    async def renewed(self, record: QueueRecord, _: int, *, lifetime: timedelta) -> QueueRecord:
        assert lifetime, "bodies of the memory store live until they are deleted"
        return record


class _Waiting(JetStreamBrowser):
    """The product's claims. What waits is read from the memory store; nothing is ever overdue."""

    def __init__(
        self, link: SimulatedLink, requests: Requests, publisher: Publisher, store: MemoryStore
    ) -> None:
        super().__init__(link.as_link, requests, publisher, LAYOUT)
        self._store = store
        self._look = MemoryBrowser(store)

    async def list(
        self, selection: Selection, *, at_once: int | None = None
    ) -> AsyncIterator[Queued]:
        async for queued in self._look.list(selection, at_once=at_once):
            if (found := self._as_stored(queued)) is not None:
                yield found

    async def deferred(self, record_id: RecordId, *, domain: str, lane: str) -> Queued | None:
        queued = await self._look.deferred(record_id, domain=domain, lane=lane)
        return self._as_stored(queued) if queued is not None else None

    def _as_stored(self, queued: Queued) -> Queued | None:
        """Return what was found by its subject in JetStream, None if it was done meanwhile."""
        stored = self._store.records.get(queued.key)
        if stored is None:
            return None
        record = queued.record
        lane = self._store.lane_of(record)
        subject = waiting_subject(0, queued.kind, record.record_id, record.domain, lane)
        return replace(queued, subject=subject, former=stored.follows)

    async def renew_overdue(self, *_: object, **__: object) -> int:
        return 0

    async def ready_pools(self) -> frozenset[str]:
        stored = self._store.records.values()
        return frozenset(each.record.pool for each in stored if each.kind is WaitKind.READY)

    async def new_subjects(self, shard: int) -> Mapping[str, int]:
        return {}  # nobody writes what no consumer takes


class SimulatedSpool(MemorySpool):
    """One process's queue. `consumer` makes the consumer, for tests that want a wrong one."""

    def __init__(
        self,
        cluster: MemoryCluster,
        link: SimulatedLink,
        *,
        role: str,
        pool: str = "default",
        consumer: type[WatchedConsumer] = WatchedConsumer,
    ) -> None:
        super().__init__(cluster, role=role, process=link.process.name)
        self.sessions.end()
        self.on_accept: Callable[[str], None] = lambda _: None
        self.on_ended: Callable[[str], None] = lambda _: None
        self._link = link
        self._consumer = consumer
        self._requests = Requests(link.as_link)
        self._publisher = consumer.publisher(link.as_link, self._requests, LAYOUT)
        self._committer = _PatientCommitter(self._publisher)
        self.claiming = _Waiting(link, self._requests, self._publisher, self.store)
        self.waiting = self.claiming  # type: ignore[assignment]
        self.real_usage = JetStreamQuotaCounters(SimulatedBucket(link, self._requests, "quotas"))
        started = datetime.now(UTC)
        self._pool = pool
        info = SessionInfo(uuid4().hex, role, link.process.name, pool, 0, started)
        presence, disk = (
            SimulatedBucket(link, self._requests, name) for name in (PRESENCE, "cluster")
        )
        self.membership = Membership(
            presence, info, Timings(), takers=Takers(presence, disk), remake=_remake
        )
        self.site_records = consumer.site_records(  # type: ignore[assignment]
            SimulatedBucket(link, self._requests, PRESENCE),
            SimulatedBucket(link, self._requests, "sites"),
            self.membership,
        )

    async def start(self) -> None:
        """Join the cluster, waiting until it answers."""
        await self._requests.start()
        while True:
            try:
                return await self.membership.start()
            except SpoolUnavailable:
                await asyncio.sleep(_LOOK_AGAIN)

    async def accept(
        self, queue_id: str, compose: Callable[[str], Sequence[Put]], *, timeout: timedelta
    ) -> StoreAck:
        """Store a new message's records through the product's publisher."""
        puts = compose(queue_id)
        self.on_accept(queue_id)
        shard = shard_of(queue_id)
        sequence = await self._committer.store(puts, shard=shard, timeout=timeout)
        return StoreAck(queue_id, sequence)

    def take_lanes(self, *, room: int) -> WatchedConsumer:
        """Join the owners of the lanes."""
        tools = ConsumerContext(
            link=self._link.as_link,
            requests=self._requests,
            publisher=self._publisher,
            blobs=cast(Blobs, _Bodies()),
            body_ends=cast(BodyEnds, _BodyEnds(self.store)),
            body_streams=BodyStreams(self._requests, LAYOUT),
            events=cast(JetStreamEvents, History(self.events, self.on_ended)),
            orders=self.orders,
            ended=cast(EndedMail, _NothingEnded()),
            ended_in_packs=cast(EndedInPacks, self._consumer.history(self.events)),
            waiting=self.claiming,
            membership=self.membership,
            presence=SimulatedBucket(self._link, self._requests, PRESENCE),
            capacity=cast(Capacity, _RoomEnough()),
            layout=LAYOUT,
            timings=Timings(),
        )
        return self._consumer(tools, pool=self._pool, room=room, room_bytes=1_000_000)


class _NothingEnded:
    """Stands for the history: the simulated servers bring nothing back."""

    def may_name(self, *_: object) -> bool:
        return False

    async def left_of(self, record: QueueRecord, _: int) -> QueueRecord:
        return record


class _RoomEnough:
    """Stands for the disks, which are not simulated."""

    exhausted = False


async def _remake() -> None:
    """The bucket itself is always there."""
