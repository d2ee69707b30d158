"""
How full the queue's storage is: ingress refuses while there still is room for settling.

Two figures count, and the worse one decides. How much is stored JetStream tells; how much there may
be, only its configuration knows, so whoever provisions writes it down. How much the disks really
have left is told beside them (`spool.jetstream.streams.disk`). New mail is refused at 80 % of the
one, or when no more than a reserve is left of the other; with half of the reserve gone nothing is
stored any more that only postpones a record.

Asked every few seconds, more often when it matters, what this process has published since is added
to the answer: a burst can fill a small volume between two looks. An unanswered question changes
nothing.
"""

import asyncio

import nats.errors
import nats.js.errors

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.errors import SpoolError
from postroad.spool.jetstream.nats.cancellation import heed_cancellation
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.key_value import Bucket
from postroad.spool.jetstream.streams.disk import REPORTS, least_free, reserve
from postroad.spool.jetstream.streams.provision import CAPACITY_KEY, PRESENCE
from postroad.spool.metrics import INTERNAL_ERRORS, ROOM

_INTERVAL = 3.0  # seconds
_CLOSE_INTERVAL = 0.5  # seconds, when the disk is near its reserve
_NEAR = 0.80
_AGAIN = 0.75  # below which mail is taken again, so that the answer does not flicker
_WRITINGS = 2  # of a body: as it is taken, and as it is deferred, before the first is cleared away
_DISK_AGAIN = 1.25  # times the reserve: the same for the disk


class Capacity:
    """Watches how much of the account's storage is used, and how much the disks have left."""

    def __init__(self, link: NatsLink, *, copies: int) -> None:
        self._link = link
        self._presence = Bucket(link, PRESENCE)
        self._copies = copies  # of everything: JetStream counts each
        self._tasks = BackgroundTasks(INTERNAL_ERRORS)
        self._limit = 0  # octets, 0 when it is not known
        self._used = 0  # octets, as of the last look
        self._free: int | None = None  # octets of the fullest disk, as of the last look
        self._published = 0  # octets this process had published by then
        self._room = float("inf")  # octets of new mail that there was room for then
        self._was_near = False
        self._disk_was_near = False

    @property
    def near_full(self) -> bool:
        """Whether new mail should be refused. Asked for each message."""
        return self._published_since() >= self._room

    @property
    def exhausted(self) -> bool:
        """Whether nothing should be stored that can as well wait as it is."""
        return self._left_of_disk() < self._reserve / 2

    @property
    def room(self) -> float:
        """Octets of new mail until it should be refused; infinite while that is not known."""
        return self._room - self._published_since()

    def _account_room(self) -> float:
        """Return what the account had room for at the last look."""
        if not self._limit:
            return float("inf")
        share = _AGAIN if self._was_near else _NEAR
        return (self._limit * share - self._used) / self._copies

    def _disk_room(self) -> float:
        """Return what the fullest disk had room for at the last look."""
        if self._free is None or not self._limit:
            return float("inf")
        times = _DISK_AGAIN if self._disk_was_near else 1.0
        return (self._free - self._reserve * times) / _WRITINGS

    @property
    def _reserve(self) -> int:
        return reserve(self._limit // self._copies)

    def _left_of_disk(self) -> float:
        if self._free is None or not self._limit:
            return float("inf")
        return self._free - _WRITINGS * self._published_since()

    def _published_since(self) -> int:
        return max(0, self._out() - self._published)

    def _out(self) -> int:
        return int(self._link.client.stats["out_bytes"])

    def start(self) -> None:
        """Look from now on, at once first."""
        self._tasks.spawn(self._watch())

    async def close(self) -> None:
        """Stop looking."""
        await self._tasks.cancel()

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except (nats.errors.Error, nats.js.errors.Error, SpoolError, OSError, TimeoutError):
                heed_cancellation()  # else the connection says that the queue is away
            close = self._left_of_disk() < 2 * self._reserve
            await asyncio.sleep(_CLOSE_INTERVAL if close else _INTERVAL)

    async def _look(self) -> None:
        js = self._link.jetstream
        try:
            message = await js.get_last_msg("KV_cluster", f"$KV.cluster.{CAPACITY_KEY}")
        except nats.js.errors.NotFoundError:
            return  # nobody has said how much there is
        published = self._out()  # counted before the answer: rather too much than too little
        self._used = (await js.account_info()).storage or 0
        self._free = least_free((await self._presence.changes(f"{REPORTS}*", after=0)).messages)
        self._published = published
        self._limit = int(message.data or b"0")
        since = self._published_since()
        self._was_near = since >= self._account_room()
        self._disk_was_near = since >= self._disk_room()
        self._room = min(self._account_room(), self._disk_room())
        ROOM.set(max(0.0, self.room))
