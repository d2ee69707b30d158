"""
The whole queue in JetStream, as `spool.jetstream.opening` returns it.

Each part has a module of its own. This module creates the parts, starts and closes them in order,
and accepts a message across shards.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

from postroad.spool.agreement import SessionInfo
from postroad.spool.errors import PublishRefused, SpoolFull, SpoolUnavailable
from postroad.spool.ids import new_queue_id, shard_of
from postroad.spool.interface import BodyWriter, Put, StoreAck
from postroad.spool.jetstream.bodies.abandoned import AbandonedBodies
from postroad.spool.jetstream.bodies.ends import BodyEnds
from postroad.spool.jetstream.bodies.store import Blobs
from postroad.spool.jetstream.bodies.streams import BodyStreams
from postroad.spool.jetstream.bodies.unfinished import UnfinishedBodies
from postroad.spool.jetstream.browse import JetStreamBrowser
from postroad.spool.jetstream.cluster.config import JetStreamConfig
from postroad.spool.jetstream.cluster.ended import EndedMail
from postroad.spool.jetstream.cluster.ended_in_packs import EndedInPacks
from postroad.spool.jetstream.cluster.event_log import JetStreamEvents
from postroad.spool.jetstream.cluster.orders import JetStreamOrders
from postroad.spool.jetstream.cluster.quota_counters import JetStreamQuotaCounters
from postroad.spool.jetstream.cluster.sessions.membership import Membership
from postroad.spool.jetstream.cluster.sessions.takers import Takers
from postroad.spool.jetstream.cluster.site_records import JetStreamSiteRecords
from postroad.spool.jetstream.consume.consumer import JetStreamConsumer
from postroad.spool.jetstream.consume.leased import ConsumerContext
from postroad.spool.jetstream.directories.past_logins import JetStreamPastLogins
from postroad.spool.jetstream.directories.site_directory import JetStreamSiteDirectory
from postroad.spool.jetstream.nats.cancellation import heed_cancellation
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.key_value import Bucket
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.publish.committer import Committer
from postroad.spool.jetstream.publish.publisher import Publisher
from postroad.spool.jetstream.publish.refusing import RefusingStreams
from postroad.spool.jetstream.streams.capacity import Capacity
from postroad.spool.jetstream.streams.provision import (
    INGRESS_SESSIONS,
    PRESENCE,
    remake_presence,
)
from postroad.spool.lanes.lane import lane_of
from postroad.spool.lanes.layout import Layout
from postroad.spool.record import BlobRef, QueueRecord
from postroad.spool.wire.pack import FEATURE

_LOOK_AGAIN = 0.2  # seconds


async def _patiently(start: Callable[[], Awaitable[None]], deadline: float) -> None:
    """Start a part; retry while a stream that it needs has no leader."""
    while True:
        try:
            return await start()
        except SpoolUnavailable:
            heed_cancellation()
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(_LOOK_AGAIN)


def _session(options: SpoolOptions) -> SessionInfo:
    return SessionInfo(
        settled=0,
        session_id=uuid4().hex,
        role=options.role,
        process=options.process or options.role,
        pool=options.pool,
        generation=0,
        started=datetime.now(UTC),
        features=(FEATURE,),
    )


class JetStreamSpool:
    """Implements interface.Spool."""

    def __init__(self, link: NatsLink, layout: Layout, options: SpoolOptions) -> None:
        self.layout = layout
        self._link = link
        self._options = options
        # Whether this is a process of the cluster, with a session, and not the command.
        self._takes_part = options.role != "command"
        self._requests = Requests(link)
        self._refusing = RefusingStreams(
            link,
            options.timings,
            shards=layout.shards,
            alive=lambda: self._membership.alive(),
            seen=lambda: self._membership.seen,
        )
        self._publisher = Publisher(link, self._requests, layout, self._refusing)
        self._committer = Committer(self._publisher)
        self._blobs = Blobs(link, self._requests, retry=options.timings.gathering)
        self._capacity = Capacity(link, copies=layout.replicas)
        self._unfinished = UnfinishedBodies(self._capacity, processes=self._of_role)
        self._config = JetStreamConfig(Bucket(link, "config"))
        link.on_reconnect(self._config.doubt)
        self._events = JetStreamEvents(link)
        self._orders = JetStreamOrders(
            Bucket(link, "cluster"), Bucket(link, PRESENCE), saves=options.makes_streams
        )
        self._sites = JetStreamSiteDirectory(Bucket(link, "sites"))
        self._usage = JetStreamQuotaCounters(Bucket(link, "quotas"))
        self._past_logins = JetStreamPastLogins(Bucket(link, "quotas"))
        self._waiting = JetStreamBrowser(link, self._requests, self._publisher, layout)
        info = _session(options)
        own, beside = Bucket(link, PRESENCE), Bucket(link, PRESENCE, part=INGRESS_SESSIONS)
        if options.role == "ingress":
            own, beside = beside, own
        self._membership = Membership(
            own,
            info,
            options.timings,
            takers=Takers(Bucket(link, PRESENCE), Bucket(link, "cluster")),
            beside=beside,
            remake=partial(remake_presence, link, layout) if options.makes_streams else None,
            is_full=lambda: self._capacity.near_full,
            refusing=self._refusing.look,
        )
        self._abandoned = AbandonedBodies(
            self._requests,
            self._membership,
            layout,
            after=options.timings.abandoned,
            retry=options.timings.gathering,
        )
        self._site_records = JetStreamSiteRecords(
            Bucket(link, PRESENCE), Bucket(link, "sites"), self._membership
        )

    @property
    def config(self) -> JetStreamConfig:
        """The compiled configuration."""
        return self._config

    @property
    def events(self) -> JetStreamEvents:
        """The history of mail."""
        return self._events

    @property
    def orders(self) -> JetStreamOrders:
        """Operators' orders."""
        return self._orders

    @property
    def sessions(self) -> Membership:
        """The live processes."""
        return self._membership

    @property
    def site_records(self) -> JetStreamSiteRecords:
        """Records that the processes sending to one site share."""
        return self._site_records

    @property
    def sites(self) -> JetStreamSiteDirectory:
        """The site directory."""
        return self._sites

    @property
    def usage(self) -> JetStreamQuotaCounters:
        """Quota usage."""
        return self._usage

    @property
    def past_logins(self) -> JetStreamPastLogins:
        """Which clients have logged in."""
        return self._past_logins

    @property
    def waiting(self) -> JetStreamBrowser:
        """The queue browser."""
        return self._waiting

    async def start(self, deadline: float) -> None:
        """Start the parts; retry until a deadline by the loop's time, then SpoolUnavailable."""
        await self._requests.start()
        await _patiently(self._orders.start, deadline)
        if self._takes_part:
            await _patiently(self._membership.start, deadline)
            self._capacity.start()
            self._abandoned.start()

    @property
    def accepting(self) -> bool:
        """Whether the queue accepts new mail."""
        return self.refusal() is None

    def refusal(self) -> Exception | None:
        """Why the queue refuses new mail, None if it accepts it."""
        if not self._link.connected:
            return SpoolUnavailable("not connected to NATS")
        if self._takes_part and not self._membership.alive():
            # It is connected to an isolated server, or to a cluster without a majority.
            return SpoolUnavailable("JetStream has not answered for 15 s")
        if self._capacity.near_full:
            return SpoolFull("the queue's storage is nearly full")
        return None

    def new_queue_id(self, now: datetime) -> str:
        """Return a new queue id in a random shard, one that takes mail as far as is known."""
        shard = self._refusing.shard_for_new_mail(together=self._may_pack)
        return new_queue_id(now, shard)

    @property
    def _may_pack(self) -> bool:
        """Whether new mail may be stored together: all processes that get it know packs."""
        return self._options.packs and self._membership.all_know(FEATURE)

    def write_body(self, *, lifetime: timedelta, known: bool = True) -> BodyWriter:
        """Begin a body in a random shard."""
        shard, portion = random.randrange(self.layout.shards), self._unfinished.begin(known=known)
        return self._blobs.writer(shard, lifetime=lifetime, portion=portion)

    def _of_role(self) -> int:
        """Return how many processes have this one's role, as of the last look."""
        return sum(each.role == self._options.role for each in self._membership.seen)

    def read_body(self, record: QueueRecord) -> AsyncIterator[bytes]:
        """Return `trace`, then the content."""
        if isinstance(record.content, BlobRef):
            return self._blobs.read(record.content, before=record.trace)
        return _inline(record.trace, record.content)

    async def accept(
        self, queue_id: str, compose: Callable[[str], Sequence[Put]], *, timeout: timedelta
    ) -> StoreAck:
        """Store a new message's records; use another shard if the first one certainly refuses."""
        refusal = self.refusal()
        if isinstance(refusal, SpoolFull):
            raise refusal
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout.total_seconds()
        while True:
            shard = shard_of(queue_id)
            left = timedelta(seconds=deadline - loop.time())
            try:
                store = self._committer.store if self._may_pack else self._publisher.accept
                sequence = await store(compose(queue_id), shard=shard, timeout=left)
            except PublishRefused:
                # Nothing is stored for certain, so another shard may be tried.
                await asyncio.sleep(_LOOK_AGAIN)
                if loop.time() >= deadline:
                    raise
                queue_id = new_queue_id(datetime.now(UTC), self._refusing.another_shard(shard))
                continue
            return StoreAck(queue_id, sequence)

    def take(self, *, pool: str, room: int, room_bytes: int) -> JetStreamConsumer:
        """Begin to consume records, as one of the processes that own a pool's lanes."""
        tools = ConsumerContext(
            link=self._link,
            requests=self._requests,
            publisher=self._publisher,
            blobs=self._blobs,
            body_ends=BodyEnds(
                self._blobs,
                link=self._link,
                requests=self._requests,
                gathering=self._options.timings.gathering,
            ),
            body_streams=BodyStreams(self._requests, self.layout),
            events=self._events,
            orders=self._orders,
            ended=EndedMail(self._link),
            ended_in_packs=EndedInPacks(self._link, self._events),
            waiting=self._waiting,
            membership=self._membership,
            presence=Bucket(self._link, PRESENCE),
            capacity=self._capacity,
            layout=self.layout,
            timings=self._options.timings,
        )
        return JetStreamConsumer(tools, pool=pool, room=room, room_bytes=room_bytes)

    def lane_of(self, record: QueueRecord) -> str:
        """Return the lane of a record."""
        return lane_of(record, self.layout.lanes)

    async def close(self) -> None:
        """Write what is buffered, end the session, disconnect."""
        await self._committer.close()
        await self._events.close()
        await self._blobs.close()
        await self._sites.close()
        await self._past_logins.close()
        await self._orders.close()
        await self._capacity.close()
        await self._abandoned.close()
        await self._membership.close()
        await self._link.close()


async def _inline(trace: bytes, content: bytes) -> AsyncIterator[bytes]:
    if trace:
        yield trace
    yield content
