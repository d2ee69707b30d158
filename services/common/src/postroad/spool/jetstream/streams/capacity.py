"""
Watches how full the queue's storage is, so that new mail is refused while settling still has room.

Two figures count, and the worse one decides. The first is JetStream's own count of what is stored;
its limit is written into a bucket by whoever provisions, because only the servers' configuration
has it. The second is the free space of the disks, which is reported from beside the servers
(`spool.jetstream.streams.disk`). New mail is refused at 80 % of the limit, or when only a reserve
of the disk is left. When half of the reserve is used, records that would only be postponed are not
stored any more.

Both figures are read every few seconds, and more often when they are near the limit. What this
process has published since is added, because a burst can fill a small volume between two readings.
A failed reading changes nothing.
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
_NEAR = 0.80  # of the limit: above this, mail is refused
_AGAIN = 0.75  # of the limit: below this, mail is accepted again, so that replies do not flip
_WRITINGS = 2  # copies of a body on disk: as accepted, and as deferred, until the first is cleared
_DISK_AGAIN = 1.25  # times the reserve: above this, the disk is no reason to refuse any more


class Capacity:
    """Watches how much of the account's storage is used, and how much the disks have left."""

    def __init__(self, link: NatsLink, *, copies: int) -> None:
        self._link = link
        self._presence = Bucket(link, PRESENCE)
        self._copies = copies  # replicas; JetStream counts each
        self._tasks = BackgroundTasks(INTERNAL_ERRORS)
        self._limit = 0  # octets, 0 when it is not known
        self._used = 0  # octets, at the last reading
        self._free: int | None = None  # octets free on the fullest disk, at the last reading
        self._published = 0  # octets this process had published by then
        self._room = float("inf")  # octets of new mail that had room then
        self._was_near = False
        self._disk_was_near = False

    @property
    def near_full(self) -> bool:
        """Whether new mail should be refused. It is cheap, since each message checks it."""
        return self._published_since() >= self._room

    @property
    def exhausted(self) -> bool:
        """Whether nothing should be stored that can wait in its present form."""
        return self._left_of_disk() < self._reserve / 2

    @property
    def room(self) -> float:
        """Octets of new mail that still have room; infinite while that is not known."""
        return self._room - self._published_since()

    @property
    def whole_room(self) -> float:
        """Octets of new mail that have room in empty storage; infinite while that is not known."""
        return self._limit * _NEAR / self._copies if self._limit else float("inf")

    def _account_room(self) -> float:
        """Return the room of the account at the last reading."""
        if not self._limit:
            return float("inf")
        share = _AGAIN if self._was_near else _NEAR
        return (self._limit * share - self._used) / self._copies

    def _disk_room(self) -> float:
        """Return the room of the fullest disk at the last reading."""
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
        """Begin to watch, with a reading at once."""
        self._tasks.keep(self._watch)

    async def close(self) -> None:
        """Stop watching."""
        await self._tasks.cancel()

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except (nats.errors.Error, nats.js.errors.Error, SpoolError, OSError, TimeoutError):
                heed_cancellation()  # otherwise ignore it: the connection shows that NATS is away
            close = self._left_of_disk() < 2 * self._reserve
            await asyncio.sleep(_CLOSE_INTERVAL if close else _INTERVAL)

    async def _look(self) -> None:
        js = self._link.jetstream
        try:
            message = await js.get_last_msg("KV_cluster", f"$KV.cluster.{CAPACITY_KEY}")
        except nats.js.errors.NotFoundError:
            return  # the limit is not written yet
        published = self._out()  # before the answer: it is safer to count too much
        self._used = (await js.account_info()).storage or 0
        self._free = least_free((await self._presence.changes(f"{REPORTS}*", after=0)).messages)
        self._published = published
        self._limit = int(message.data or b"0")
        since = self._published_since()
        self._was_near = since >= self._account_room()
        self._disk_was_near = since >= self._disk_room()
        self._room = min(self._account_room(), self._disk_room())
        ROOM.set(max(0.0, self.room))
