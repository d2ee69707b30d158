"""
Pulling records from lanes: raw JetStream pull requests, a durable consumer for each lane and class.

nats-py's fetch knows neither a bound in octets nor a standing request. Here every lane has a
request open at the server, small while it is idle and larger while it is busy, renewed at half. A
lane's consumer lives in the server's memory and is made anew when a restart has lost it.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import nats.errors

from postroad.mail.traffic import TrafficClass
from postroad.mail.valueclass import valueclass
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.nats.client import Incoming, Listening
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.publish.succession import FOLLOWS, REPLACES
from postroad.spool.jetstream.streams.subjects import lane_consumer, lane_filter, queue_stream
from postroad.spool.lanes.assignment import LaneKey
from postroad.spool.metrics import INTERNAL_ERRORS, REDELIVERIES
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_EXPIRES = 30.0  # seconds a request stands
_HEARTBEAT = 5.0  # seconds between the server's signs of life
_SILENCE = 2.2 * _HEARTBEAT
_MAX_ACK_PENDING = 2000
_IDLE_BATCH, _BUSY_BATCH = 16, 256  # records
_IDLE_OCTETS, _BUSY_OCTETS = 512 * 1024, 4 * 1024 * 1024
_MADE_AT_ONCE = 32  # consumers
_FOLLOWS, _REPLACES = FOLLOWS.encode(), REPLACES.encode()
_SCHEDULER = b"Nats-Scheduler"
_PAUSE = 0.25  # seconds before a request is repeated that failed at once

Room = Callable[["LanePull"], int]  # how many more records may be asked for


@valueclass(frozen=True, slots=True)
class Delivered:
    """
    A record as the server delivered it.

    `again`: it may have been in somebody's hands before. `forgotten`: and may still be, without a
    lease, as the servers have lost the consumer that had handed it out.
    """

    shard: int
    sequence: int
    deliveries: int
    again: bool
    forgotten: bool
    pull: "LanePull"
    message: Incoming

    @property
    def follows(self) -> int:
        """The sequence of the record it follows from, 0 when that does not matter any more."""
        if _FOLLOWS not in self.message.header:
            return 0
        return int(self.message.field(FOLLOWS) or 0)

    @property
    def replaces(self) -> int:
        """The sequence of the waiting record whose place it took, 0 when it took none."""
        if _REPLACES not in self.message.header:
            return 0
        return int(self.message.field(REPLACES) or 0)

    @property
    def waited(self) -> bool:
        """Whether a schedule has fired it, or it took the place of one."""
        header = self.message.header
        return _SCHEDULER in header or _REPLACES in header


class LanePull:
    """The standing request of one lane, class and shard."""

    def __init__(self, shard: int, key: LaneKey, traffic_class: TrafficClass) -> None:
        self.shard = shard
        self.key = key
        self.traffic_class = traffic_class
        self.consumer = lane_consumer(key.pool, traffic_class, key.lane)
        self.stream = queue_stream(shard)
        self.asked = 0  # records asked for and not yet come
        self.batch = _IDLE_BATCH
        self.heard = 0.0  # loop time of the last word about it
        self.retry_at = 0.0
        self.made = False
        self.made_at = 0  # when the server made its consumer; nanoseconds by the server's clock
        self.being_made = False
        self.single = False  # the next record is larger than a request allows

    @property
    def name(self) -> tuple[str, str]:
        """What its records' acknowledgement subjects say: stream and consumer."""
        return (self.stream, self.consumer)

    def arrived(self, now: float) -> None:
        """A record came."""
        self.heard = now
        self.asked = max(0, self.asked - 1)
        if self.asked == 0:
            self.batch = min(self.batch * 2, _BUSY_BATCH)

    def ended(self, unused: int | None, now: float) -> None:
        """A request ended with `unused` records not delivered, None when all requests are gone."""
        self.heard = now
        if unused is None:
            self.asked, self.retry_at = 0, now + _PAUSE
            return
        self.asked = max(0, self.asked - unused)
        if unused:
            self.batch = _IDLE_BATCH

    def may_repeat(self, number: int, stored_at: int, deliveries: int) -> bool:
        """
        Whether an earlier consumer may have handed out what this one delivers by this number.

        What an earlier consumer had handed out, and the servers forgot, was stored before this one
        was made, and it is the first that this one delivers; or it comes again since.
        """
        return stored_at < self.made_at and (number <= _MAX_ACK_PENDING or deliveries > 1)

    @property
    def low(self) -> bool:
        """Whether it is time to ask for more."""
        return self.asked <= self.batch // 2

    def wants(self, room: int, now: float) -> int:
        """Return how many records to ask for now; 0 while enough are asked for."""
        if now < self.retry_at:
            return 0
        if self.asked and now - self.heard > _SILENCE:
            self.asked = 0  # the request is lost: the server went away without a word
        return min(self.batch - self.asked, room) if self.low else 0

    def request(self, count: int) -> bytes:
        """Return the body of a pull request."""
        if self.single:
            return _request(1, None)
        return _request(count, _BUSY_OCTETS if count > _IDLE_BATCH else _IDLE_OCTETS)


@lru_cache(maxsize=_BUSY_BATCH)
def _request(batch: int, octets: int | None) -> bytes:
    body: dict[str, object] = {
        "batch": batch,
        "expires": int(_EXPIRES * 1e9),
        "idle_heartbeat": int(_HEARTBEAT * 1e9),
    }
    if octets is not None:
        body["max_bytes"] = octets
    return json.dumps(body).encode()


@dataclass(frozen=True, slots=True)
class _Inbox:
    prefix: str
    subscription: Listening


class Puller:
    """
    All standing requests of a process.

    Each lane has a subscription of its own, so that leaving a lane takes its requests back at once.
    """

    def __init__(
        self,
        link: NatsLink,
        requests: Requests,
        *,
        ack_wait: timedelta,
        room: Room,
        deliver: Callable[[Delivered], None],
    ) -> None:
        self._link = link
        self._requests = requests
        self._ack_wait = ack_wait
        self._room = room
        self._deliver = deliver
        self._pulls: dict[tuple[str, str], LanePull] = {}
        self._low: dict[LanePull, None] = {}  # those that may want more, in order
        self._lanes: dict[LaneKey, list[LanePull]] = {}
        self._tokens: dict[str, LanePull] = {}
        self._inboxes: dict[LaneKey, _Inbox] = {}
        self._number = 0
        self._stopped = False
        self._makings = BackgroundTasks(INTERNAL_ERRORS)
        self._makers = asyncio.Semaphore(_MADE_AT_ONCE)

    async def start(self) -> None:
        """Be ready to pull; again for each new client."""
        self._link.on_reconnect(self._restart_all)
        await self._link.on_client(self._forget_inboxes)

    async def _forget_inboxes(self) -> None:
        self._inboxes.clear()
        self._restart_all()

    def _restart_all(self) -> None:
        self._tokens.clear()
        for pull in self._pulls.values():
            # The server may have been restarted, and its memory consumers with it.
            pull.asked, pull.made, pull.retry_at = 0, False, 0.0

    def add(self, pull: LanePull) -> None:
        """Take records of a lane from now on."""
        self._pulls[pull.name] = pull
        self._lanes.setdefault(pull.key, []).append(pull)

    def serves(self, key: LaneKey) -> bool:
        """Whether records of a lane are being taken."""
        return key in self._lanes

    def coming(self, key: LaneKey) -> int:
        """Return how many records of a lane were asked for, but for what each idle request asks."""
        return sum(max(0, pull.asked - _IDLE_BATCH) for pull in self._lanes.get(key, ()))

    async def remove(self, key: LaneKey) -> None:
        """Take no more of a lane: without its inbox the server drops what was asked for."""
        for pull in self._lanes.pop(key, ()):
            self._pulls.pop(pull.name, None)
            self._low.pop(pull, None)
        for name in [name for name, pull in self._tokens.items() if pull.key == key]:
            del self._tokens[name]
        await self._close_inbox(key)

    async def _close_inbox(self, key: LaneKey) -> None:
        inbox = self._inboxes.pop(key, None)
        if inbox is not None:
            await _unsubscribe(inbox)

    async def stop(self) -> None:
        """Ask for nothing more, and take nothing of what was asked for."""
        self._stopped = True
        await self._makings.cancel()
        for key in list(self._inboxes):
            await self._close_inbox(key)

    async def refill_all(self) -> None:
        """Ask for more wherever there is room; also for requests that were lost silently."""
        self._low.update(dict.fromkeys(self._pulls.values()))
        await self.refill()

    async def refill(self) -> None:
        """Ask for more where records have come and there is room, express before bulk."""
        if self._stopped or not self._link.connected:
            return
        # With 192 requests of a process in a cluster, to look at each after each record would cost
        # more than all else that is done for it.
        for traffic_class in TrafficClass:
            for pull in [each for each in self._low if each.traffic_class is traffic_class]:
                await self._refill_one(pull)

    async def _refill_one(self, pull: LanePull) -> None:
        if self._stopped or self._pulls.get(pull.name) is not pull:
            return  # its lane was left since it was noted down as low
        loop = asyncio.get_running_loop()
        count = pull.wants(self._room(pull), loop.time())
        if count <= 0 or pull.being_made:
            if not pull.low:
                self._low.pop(pull, None)
            return
        if not pull.made:
            self._make_soon(pull)
            return
        try:
            inbox = self._inboxes.get(pull.key)
            if inbox is not None:
                self._ask(pull, inbox, count)
                return
            await self._open_inbox(pull.key)
        except (SpoolUnavailable, nats.errors.Error, OSError, ValueError) as error:
            log.debug("a lane cannot be pulled for now", lane=pull.key.lane, error=str(error))
            pull.ended(None, loop.time())
        else:
            await self._refill_one(pull)  # anew: the lane may have been left meanwhile

    def _make_soon(self, pull: LanePull) -> None:
        """
        Make a lane's consumer beside the rest, and ask then.

        In a cluster each is a Raft group, 65 ms of work, and a stream without a leader says nothing
        for seconds: leases of what is in hand must not wait for either.
        """
        pull.being_made = True
        self._makings.spawn(self._make(pull))

    async def _make(self, pull: LanePull) -> None:
        try:
            async with self._makers:
                await self._make_consumer(pull)
        except SpoolUnavailable as error:
            log.debug("a lane has no consumer yet", lane=pull.key.lane, error=str(error))
            pull.ended(None, asyncio.get_running_loop().time())
        finally:
            pull.being_made = False
        if pull.made:
            await self._refill_one(pull)

    async def _open_inbox(self, key: LaneKey) -> None:
        """Listen for a lane's records, unless it was left meanwhile, or another task was faster."""
        client = self._link.client
        prefix = client.new_inbox() + "."
        inbox = _Inbox(prefix, await client.listen(prefix + "*", self._on_message))
        if self._stopped or key not in self._lanes or key in self._inboxes:
            await _unsubscribe(inbox)
        else:
            self._inboxes[key] = inbox

    def _ask(self, pull: LanePull, inbox: "_Inbox", count: int) -> None:
        self._number += 1
        token = f"{inbox.prefix}{self._number}"
        self._tokens[token] = pull
        pull.asked += 1 if pull.single else count
        pull.heard = asyncio.get_running_loop().time()
        self._link.client.post(
            f"$JS.API.CONSUMER.MSG.NEXT.{pull.stream}.{pull.consumer}",
            pull.request(count),
            reply=token,
        )

    async def _make_consumer(self, pull: LanePull) -> None:
        config = {
            "durable_name": pull.consumer,
            "name": pull.consumer,
            "filter_subject": lane_filter(
                pull.shard, pull.key.pool, pull.traffic_class, pull.key.lane
            ),
            "ack_policy": "explicit",
            "ack_wait": int(self._ack_wait.total_seconds() * 1e9),
            "max_deliver": -1,
            "max_ack_pending": _MAX_ACK_PENDING,
            "mem_storage": True,
            "deliver_policy": "all",
            "replay_policy": "instant",
        }
        request = json.dumps({"stream_name": pull.stream, "config": config}).encode()
        subject = f"$JS.API.CONSUMER.CREATE.{pull.stream}.{pull.consumer}"
        answer = await self._requests.send(
            f"{subject}.{config['filter_subject']}", request, timeout=5.0
        )
        said = json.loads(answer.data)
        error = said.get("error")
        if error is not None:
            raise SpoolUnavailable(f"no consumer: {error.get('description')}")
        pull.made = True
        pull.made_at = int(datetime.fromisoformat(said["created"]).timestamp() * 1e9)

    def _on_message(self, message: Incoming) -> None:
        now = asyncio.get_running_loop().time()
        if not message.reply or not message.reply.startswith("$JS.ACK."):
            self._on_status(message, now)
            return
        tokens = message.reply.split(".")
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<consumer seq>.<time>.<pending>, or
        # with <domain>.<account hash> before the stream (and a random token at the end).
        base = 2 if len(tokens) == 9 else 4
        pull = self._pulls.get((tokens[base], tokens[base + 1]))
        if pull is None:
            pull = self._foreign(tokens[base], tokens[base + 1])
        else:
            pull.arrived(now)
            if pull.low:
                self._low[pull] = None
        deliveries = int(tokens[base + 2])
        if deliveries > 1:
            REDELIVERIES.inc()
        sequence, number, stored_at = map(int, tokens[base + 3 : base + 6])
        forgotten = pull.may_repeat(number, stored_at, deliveries)
        again = forgotten or deliveries > 1
        self._deliver(Delivered(pull.shard, sequence, deliveries, again, forgotten, pull, message))

    def _foreign(self, stream: str, consumer: str) -> LanePull:
        """Return a stand-in for a lane that was left: what was on its way still comes."""
        shard = int(stream.rpartition("_")[2])
        pool, traffic_class, lane = consumer.rsplit("_", 2)
        return LanePull(shard, LaneKey(pool, lane), TrafficClass(traffic_class))

    def _on_status(self, message: Incoming, now: float) -> None:
        pull = self._tokens.get(message.subject)
        status = message.status or "503"
        if pull is None:
            return
        pull.heard = now
        if status == "100":
            return
        del self._tokens[message.subject]
        description = message.description
        unused = message.field("Nats-Pending-Messages")
        pull.single = "Exceeds MaxBytes" in description
        if status == "408" or (unused is not None and status == "409"):
            pull.ended(int(unused or 0), now)
            return
        if status in ("404", "503") or "Deleted" in description:
            pull.made = False
        pull.ended(None, now)


async def _unsubscribe(inbox: _Inbox) -> None:
    try:
        await inbox.subscription.unsubscribe()
    except (nats.errors.Error, OSError, ValueError) as error:
        log.debug("a lane's inbox went with its connection", error=str(error))
