"""
The pull request of one lane in one stream: how many records it asks for, and when.

In a shard's intake each class of a lane has a request of its own. What waited is ready in the other
stream, where one request is for both classes: in a cluster each consumer costs the servers time
even while it is idle.

It is small while the lane is idle and larger while it is busy. It is renewed when half of its
records have come. What a large request asks for takes places of the lane that its other requests
could use; so it ends soon, and the next one asks for as many as have come. No I/O; the clock is an
argument.
"""

import json
import math
from functools import lru_cache

from postroad.mail.traffic import TrafficClass
from postroad.spool.jetstream.streams.subjects import lane_consumer, stream_name
from postroad.spool.lanes.keys import QueueStream
from postroad.spool.lanes.owners import LaneKey

MAX_ACK_PENDING = 2000  # messages that one consumer hands out before the first is acknowledged
_IDLE_BATCH = 16  # messages that an idle lane's request asks for
_IDLE_PACKS = 4  # the same in an intake, where a message may have many records

# Seconds a request stands. Those of a process that has died stand longer than it, and new mail that
# the servers send to them comes again only when its lease has run out.
STANDS = 10.0
_BUSY_STANDS = 1.0  # seconds a large request stands
_HEARTBEAT = 5.0  # seconds between the server's signs of life
_SILENCE = 2.2 * _HEARTBEAT
LONGEST = STANDS + _SILENCE  # seconds after which nothing comes of a request
_BUSY_BATCH = 256  # messages
_IDLE_OCTETS, _BUSY_OCTETS = 1024 * 1024, 4 * 1024 * 1024
_WEIGHT = 0.3  # of the last message in the mean
_PAUSE = 0.25  # seconds before a request is repeated that failed at once


LINES: tuple[TrafficClass | None, ...] = (TrafficClass.TRANSACTIONAL, None, TrafficClass.BULK)
"""The pull requests of a lane in a shard, in order: of the classes of new mail; None: the rest."""


class LanePull:
    """
    The pull request of one lane and shard for one of LINES.

    With `passing` the servers remove its consumer some time after the last request.
    """

    def __init__(
        self,
        shard: int,
        key: LaneKey,
        traffic_class: TrafficClass | None,
        *,
        passing: bool = False,
    ) -> None:
        self.passing = passing
        self.kind = QueueStream.INTAKE if traffic_class is not None else QueueStream.WAITING
        self.shard = shard
        self.key = key
        self.traffic_class = traffic_class
        self.consumer = lane_consumer(key.pool, traffic_class, key.lane)
        self.stream = stream_name(self.kind, shard)
        self.asked = 0  # messages requested that have not come
        self.idle = _IDLE_BATCH if traffic_class is None else _IDLE_PACKS
        self.batch = self.idle
        self.heard = 0.0  # loop time when the server last sent something for it
        self.retry_at = 0.0
        self.made = False
        self.clustered = False  # its consumer is on one of several servers
        # When the server made its consumer, or lost its state; nanoseconds by the server's clock.
        self.made_at = 0
        self.being_made = False
        self.single = False  # the next record is larger than a request allows
        self.in_each = 1.0  # records of a message lately, as several may be in a pack

    @property
    def name(self) -> tuple[str, str]:
        """The stream and the consumer, as in the acknowledgement subjects of its records."""
        return (self.stream, self.consumer)

    def arrived(self, now: float, records: int = 1) -> None:
        """Record that a message has come, with so many records."""
        self.heard = now
        self.in_each += _WEIGHT * (records - self.in_each)
        self.asked = max(0, self.asked - 1)
        self.single = False
        if self.asked == 0:
            self.batch = min(self.batch * 2, _BUSY_BATCH)

    def ended(self, unused: int | None, now: float, *, came: int = 0) -> None:
        """
        End a request of which `unused` records were not delivered; None ends all of them.

        Before, so many records `came` of it.
        """
        self.heard = now
        if unused is None:
            self.asked, self.retry_at = 0, now + _PAUSE
            return
        self.asked = max(0, self.asked - unused)
        if unused:
            self.batch = max(self.idle, came)

    def filled(self, unused: int, requested: int, now: float) -> None:
        """End a request whose octets were too few for the next record; that one may come alone."""
        self.heard = now
        self.asked = max(0, self.asked - unused)
        self.single = unused >= requested

    def may_repeat(self, number: int, stored_at: int, deliveries: int) -> bool:
        """
        Whether an earlier consumer may have delivered the record that this one delivers.

        If the servers lost a consumer, the records that it had delivered were stored before this
        one was made, and are among the first that this one delivers, or are redelivered since.
        """
        return stored_at < self.made_at and (number <= MAX_ACK_PENDING or deliveries > 1)

    @property
    def low(self) -> bool:
        """Whether it is time to request more."""
        return self.asked <= self.batch // 2

    def wants(self, room: int, now: float) -> int:
        """
        Return how many messages to request now; 0 while enough are requested.

        There is `room` for so many records. What comes beyond is in hand, too, and waits.
        """
        if now < self.retry_at:
            return 0
        if self.asked and now - self.heard > _SILENCE:
            # The request is lost: its server has gone, and the consumer may have lost its state.
            self.asked, self.made = 0, False
        return min(self.batch - self.asked, math.ceil(room / self.in_each)) if self.low else 0

    def request(self, count: int) -> bytes:
        """Return the body of a pull request for messages that `asked` counts already."""
        if self.single:
            return _request(1, None)
        octets = _BUSY_OCTETS if count > self.idle else _IDLE_OCTETS
        return _request(count, octets, busy=self.asked > self.idle)


@lru_cache(maxsize=2 * _BUSY_BATCH)
def _request(batch: int, octets: int | None, *, busy: bool = False) -> bytes:
    body: dict[str, object] = {
        "batch": batch,
        "expires": int((_BUSY_STANDS if busy else STANDS) * 1e9),
    }
    if not busy:
        body["idle_heartbeat"] = int(_HEARTBEAT * 1e9)
    if octets is not None:
        body["max_bytes"] = octets
    return json.dumps(body).encode()
