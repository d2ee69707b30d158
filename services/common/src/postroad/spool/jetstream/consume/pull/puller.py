"""
Pulls records from lanes by raw JetStream pull requests.

nats-py's fetch has neither a limit in octets nor a request that stays open. Here each lane has
requests open at the server (`lane_pull`) in each shard. The records go to one receiver, which also
says how many more may be requested.
"""

import asyncio
import contextlib
from datetime import timedelta
from typing import Protocol

import nats.errors

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.consume.pull.delivered import Delivered
from postroad.spool.jetstream.consume.pull.inboxes import Inbox, Inboxes
from postroad.spool.jetstream.consume.pull.lane_consumer import make_consumer
from postroad.spool.jetstream.consume.pull.lane_pull import LINES, STANDS, LanePull
from postroad.spool.jetstream.consume.pull.open_requests import OpenRequest, OpenRequests
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.incoming import Incoming
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.streams.subjects import named_consumer, named_stream, packed
from postroad.spool.lanes.keys import Key
from postroad.spool.lanes.owners import LaneKey
from postroad.spool.metrics import INTERNAL_ERRORS, REDELIVERIES
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_MADE_AT_ONCE = 32  # consumers


class Receiver(Protocol):
    """Gets the records."""

    def room_for(self, pull: LanePull) -> int:
        """Return how many more records of a lane and class may be requested."""

    def deliver(self, delivered: Delivered) -> None:
        """Take a record that has come."""


class Puller:
    """All pull requests of a process."""

    def __init__(self, link: NatsLink, requests: Requests, *, ack_wait: timedelta) -> None:
        self._link = link
        self._requests = requests
        self._ack_wait = ack_wait
        self._pulls: dict[tuple[str, str], LanePull] = {}
        self._low: dict[LanePull, None] = {}  # those that may want more, in order
        self._lanes: dict[LaneKey, list[LanePull]] = {}
        self._open = OpenRequests()
        self._inboxes = Inboxes(link, self._on_message)
        self._clustered = False
        self._number = 0
        self._stopped = False
        self._run_out = asyncio.Event()  # set when no request is open any more, once stopped
        self._restarted = 0
        self._makings = BackgroundTasks(INTERNAL_ERRORS)
        self._makers = asyncio.Semaphore(_MADE_AT_ONCE)

    async def start(self, receiver: Receiver) -> None:
        """Begin to pull for a receiver, and again with each new NATS client."""
        self._receiver = receiver
        self._link.on_reconnect(self._restart_all)
        await self._link.on_client(self._forget_inboxes)

    async def _forget_inboxes(self) -> None:
        self._inboxes.forget()
        self._restart_all()

    def _restart_all(self) -> None:
        self._open.clear()
        for pull in self._pulls.values():
            # The server may have been restarted, and its memory consumers with it.
            pull.asked, pull.made, pull.retry_at = 0, False, 0.0

    def heed_restart(self, restarted: int) -> None:
        """
        Note when all servers were last restarted; nanoseconds by their clock.

        In a cluster, a consumer that was lost then is there again, empty, and made long ago.
        """
        if restarted != self._restarted:
            self._restarted = restarted
            for pull in self._pulls.values():
                pull.made_at = max(pull.made_at, restarted)

    def add(self, pull: LanePull) -> None:
        """Take records of a lane from now on."""
        self._pulls[pull.name] = pull
        self._lanes.setdefault(pull.key, []).append(pull)

    def serves(self, key: LaneKey) -> bool:
        """Whether records of a lane are being taken."""
        return key in self._lanes

    def coming(self, key: LaneKey) -> int:
        """Return how many records of a lane were requested, without those of idle requests."""
        pulls = self._lanes.get(key, ())
        return sum(int(max(0, pull.asked - pull.idle) * pull.in_each) for pull in pulls)

    async def remove(self, key: LaneKey) -> None:
        """Take no more of a lane. What its requests still bring has to be given back."""
        for pull in self._lanes.pop(key, ()):
            self._pulls.pop(pull.name, None)
            self._low.pop(pull, None)
        await self._inboxes.leave(key, clustered=self._clustered)

    async def stop(self) -> None:
        """Request no more records, and take none of those requested if that can be said."""
        self._stopped = True
        if not self._clustered:
            await self._inboxes.close()

    async def close(self) -> None:
        """
        End all requests, before the process ends.

        On several servers a request cannot be ended before its time; see `inboxes`.
        """
        await self._makings.cancel()
        if self._clustered and self._link.connected:
            await self._until_run_out()
        await self._inboxes.close()

    async def _until_run_out(self) -> None:
        self._note_end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STANDS):
                await self._run_out.wait()

    def _note_end(self) -> None:
        if self._stopped and not len(self._open):
            self._run_out.set()

    async def refill_all(self) -> None:
        """Request more wherever there is room, also in place of requests that were lost."""
        self._open.forget(asyncio.get_running_loop().time())
        self._low.update(dict.fromkeys(self._pulls.values()))
        await self.refill()

    async def refill(self) -> None:
        """Request more where records have come and there is room, transactional before bulk."""
        if self._stopped or not self._link.connected:
            return
        # A process can have 288 requests. Checking each of them after each record would cost more
        # than everything else that is done for the record.
        for line in LINES:
            for pull in [each for each in self._low if each.traffic_class is line]:
                await self._refill_one(pull)

    async def _refill_one(self, pull: LanePull) -> None:
        if self._stopped or self._pulls.get(pull.name) is not pull:
            return  # its lane was left since it was noted down as low
        loop = asyncio.get_running_loop()
        count = pull.wants(self._receiver.room_for(pull), loop.time())
        if count <= 0 or pull.being_made:
            if not pull.low:
                self._low.pop(pull, None)
            return
        if not pull.made:
            self._make_soon(pull)
            return
        try:
            inbox = self._inboxes.of(pull.key)
            if inbox is not None:
                self._ask(pull, inbox, count)
                return
            await self._inboxes.open(pull.key, wanted=lambda: self._wants(pull.key))
        except (SpoolUnavailable, nats.errors.Error, OSError, ValueError) as error:
            log.debug("a lane cannot be pulled for now", lane=pull.key.lane, error=str(error))
            pull.ended(None, loop.time())
        else:
            await self._refill_one(pull)  # anew: the lane may have been left meanwhile

    def _make_soon(self, pull: LanePull) -> None:
        """
        Create a lane's consumer in the background, then request records.

        In a cluster each consumer is a Raft group and takes 65 ms. A stream without a leader
        answers nothing for seconds. The leases of records in hand must not wait for either.
        """
        pull.being_made = True
        self._makings.spawn(self._make(pull))

    async def _make(self, pull: LanePull) -> None:
        try:
            async with self._makers:
                await make_consumer(self._requests, pull, ack_wait=self._ack_wait)
            pull.made_at = max(pull.made_at, self._restarted)
            self._clustered = pull.clustered
        except SpoolUnavailable as error:
            log.debug("a lane has no consumer yet", lane=pull.key.lane, error=str(error))
            pull.ended(None, asyncio.get_running_loop().time())
        finally:
            pull.being_made = False
        if pull.made:
            await self._refill_one(pull)

    def _wants(self, key: LaneKey) -> bool:
        return not self._stopped and key in self._lanes

    def _ask(self, pull: LanePull, inbox: Inbox, count: int) -> None:
        self._number += 1
        token = f"{inbox.prefix}{self._number}"
        requested = 1 if pull.single else count
        now = asyncio.get_running_loop().time()
        self._open.add(token, OpenRequest(pull, requested, now))
        pull.asked += requested
        pull.heard = now
        self._link.client.post(
            f"{self._link.api}.CONSUMER.MSG.NEXT.{pull.stream}.{pull.consumer}",
            pull.request(count),
            reply=token,
        )

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
            self._open.arrived(pull)
            pull.arrived(now, max(1, packed(message.subject)))
            if pull.low:
                self._low[pull] = None
        deliveries = int(tokens[base + 2])
        if deliveries > 1:
            REDELIVERIES.inc()
        sequence, number, stored_at = map(int, tokens[base + 3 : base + 6])
        forgotten = pull.may_repeat(number, stored_at, deliveries)
        again = forgotten or deliveries > 1
        key = Key(pull.kind, pull.shard, sequence)
        self._receiver.deliver(
            Delivered(key, stored_at, deliveries, again, forgotten, pull, message)
        )

    def _foreign(self, stream: str, consumer: str) -> LanePull:
        """Return a stand-in for a lane that was left: records that were sent still arrive."""
        _, shard = named_stream(stream)
        pool, traffic_class, lane = named_consumer(consumer)
        return LanePull(shard, LaneKey(pool, lane), traffic_class)

    def _on_status(self, message: Incoming, now: float) -> None:
        request = self._open.get(message.subject)
        status = message.status or "503"
        if request is None:
            return
        pull = request.pull
        pull.heard = now
        if status == "100":
            return
        self._open.end(message.subject)
        self._note_end()
        description = message.description
        unused = message.field("Nats-Pending-Messages")
        if unused is not None and "Exceeds MaxBytes" in description:
            pull.filled(int(unused), request.records, now)
            self._low[pull] = None
            self._makings.spawn(self._refill_one(pull))
            return
        if status == "408" or (unused is not None and status == "409"):
            pull.ended(int(unused or 0), now, came=request.came)
            return
        if status in ("404", "503") or "Deleted" in description:
            pull.made = False
        pull.ended(None, now)
