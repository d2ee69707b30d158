"""A leased record, and the parts of the queue that a consumer needs."""

from dataclasses import dataclass

from postroad.spool.agreement import Orders
from postroad.spool.jetstream.bodies.ends import BodyEnds
from postroad.spool.jetstream.bodies.store import Blobs
from postroad.spool.jetstream.bodies.streams import BodyStreams
from postroad.spool.jetstream.browse import JetStreamBrowser
from postroad.spool.jetstream.cluster.ended import EndedMail
from postroad.spool.jetstream.cluster.ended_in_packs import EndedInPacks
from postroad.spool.jetstream.cluster.event_log import JetStreamEvents
from postroad.spool.jetstream.cluster.sessions.membership import Membership
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.key_value import Bucket
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.publish.publisher import Publisher
from postroad.spool.jetstream.streams.capacity import Capacity
from postroad.spool.jetstream.timings import Timings
from postroad.spool.lanes.keys import Key
from postroad.spool.lanes.layout import Layout
from postroad.spool.lanes.owners import LaneKey
from postroad.spool.record import QueueRecord


@dataclass(frozen=True, slots=True)
class ConsumerContext:
    """The parts of the queue that a consumer needs."""

    link: NatsLink
    requests: Requests
    publisher: Publisher
    blobs: Blobs
    body_ends: BodyEnds
    body_streams: BodyStreams
    events: JetStreamEvents
    orders: Orders
    ended: EndedMail
    ended_in_packs: EndedInPacks
    waiting: JetStreamBrowser
    membership: Membership
    presence: Bucket
    capacity: Capacity
    layout: Layout
    timings: Timings


class JetStreamLeasedRecord:
    """A leased record."""

    __slots__ = ("_deliveries", "_places", "_record", "key", "lane_key")

    def __init__(
        self, record: QueueRecord, key: Key, lane_key: LaneKey, deliveries: int, places: int
    ) -> None:
        self._record = record
        self._deliveries = deliveries
        self._places = places
        self.key = key
        self.lane_key = lane_key

    @property
    def record(self) -> QueueRecord:
        """The record as it was stored, or what is left of it."""
        return self._record

    def leave(self, left: QueueRecord) -> None:
        """Go on with what is left of the record: some of its recipients have ended before."""
        self._record = left

    @property
    def deliveries(self) -> int:
        """How often the queue has delivered it, at least."""
        return self._deliveries

    @property
    def places(self) -> int:
        """How many of its process's places it takes; see `spool.room`."""
        return self._places
