"""
Tries records that may have killed their processes one after another.

When a process dies, one of the records that it had in hand may have killed it. All of them have the
same count of deliveries, so the count only makes a record a suspect (`suspects` beside this).
Suspects are handed out one at a time. Before each trial, a note is written that outlives the
process; it is removed when the attempt ends, however it ends. So a note that is found stands for
the death of a process that had this suspect and no other. After enough deaths in a row the record
is held.

The suspect with the fewest deaths goes first. So kills by other causes are spread over all
suspects, and a record that really kills is tried after the records that died with it. Other mail is
delivered meanwhile. If one of its records kills, it becomes a suspect before its deaths can put a
suspect on hold. A suspect whose attempt takes long no longer keeps the others waiting.

The notes are in the servers' memory. A restart of all of them forgets the notes, and the counts of
deliveries as well.
"""

import asyncio
from datetime import timedelta
from typing import Protocol

from postroad.spool.errors import SpoolError, SpoolFull
from postroad.spool.jetstream.consume.leased import JetStreamLeasedRecord
from postroad.spool.jetstream.consume.poison.suspects import is_poison
from postroad.spool.jetstream.nats.key_value import Bucket, is_deletion
from postroad.spool.lanes.keys import Key
from postroad.spool.lanes.owners import LaneKey
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_REMEMBERED = timedelta(hours=1)  # a note; after that a death has nothing to do with the next
_PATIENCE = timedelta(seconds=2)
_TOLD_FOR = timedelta(seconds=60)


class SuspectHandler(Protocol):
    """Does what is decided about a suspect."""

    def hand_out(self, leased: JetStreamLeasedRecord) -> None:
        """Hand it to delivery next."""

    def hold(self, leased: JetStreamLeasedRecord) -> None:
        """Hold it: it has killed too many processes."""

    def put_off(self, leased: JetStreamLeasedRecord) -> None:
        """Return it to the queue for a while: it cannot be tried now."""


class Trials:
    """The suspects of one process. They may wait in `most` places; the rest is for other mail."""

    def __init__(
        self, bucket: Bucket, *, most: int, alone: timedelta, gathering: timedelta
    ) -> None:
        self._bucket = bucket
        self._most = most
        self._alone = alone.total_seconds()
        self._gathering = gathering.total_seconds()
        self._waiting: dict[Key, JetStreamLeasedRecord] = {}
        self._deaths: dict[Key, int] = {}  # of those waiting whose note was read
        self._under_way: dict[Key, asyncio.Event] = {}
        self._came = asyncio.Event()

    def add(self, leased: JetStreamLeasedRecord) -> bool:
        """Let a suspect wait for its turn; return False if too many wait already."""
        if sum(each.places for each in self._waiting.values()) >= self._most:
            return False
        self._waiting[leased.key] = leased
        self._came.set()
        return True

    def withdraw(self, lane: LaneKey) -> list[JetStreamLeasedRecord]:
        """Take out the waiting suspects of a lane and return them."""
        found = [leased for leased in self._waiting.values() if leased.lane_key == lane]
        for leased in found:
            self._forget(leased.key)
        return found

    def is_tried(self, key: Key) -> bool:
        """Whether a record is a suspect whose trial has not ended."""
        return key in self._under_way

    async def end(self, key: Key) -> None:
        """End a trial, or give it up before it began: later deaths do not count for this record."""
        self._forget(key)
        over = self._under_way.pop(key, None)
        if over is None:
            return
        over.set()
        try:
            await self._bucket.remove(_name(key), patience=_PATIENCE, lifetime=_TOLD_FOR)
        except SpoolError as error:
            log.debug("the note of a suspect stays for a while", error=str(error))

    async def run(self, handler: SuspectHandler) -> None:
        """Try the suspects as they come, until cancelled."""
        while True:
            if not self._waiting:
                self._came.clear()
                await self._came.wait()
            # The suspects of one death come within moments, in the same order each time. Without
            # this wait the first would always be tried, and get each death of another cause.
            await asyncio.sleep(self._gathering)
            while self._waiting:
                await self._look(handler)
                if self._deaths:
                    key = min(self._deaths, key=self._deaths.__getitem__)
                    await self._try(self._waiting[key], self._deaths[key], handler)

    async def _look(self, handler: SuspectHandler) -> None:
        """Read the notes of new suspects, and hold those with too many deaths."""
        for leased in [each for key, each in self._waiting.items() if key not in self._deaths]:
            key = leased.key
            try:
                deaths = await self._read(key)
            except SpoolError as error:
                log.debug("a suspect cannot be looked up", error=str(error))
                deaths = None
            if self._waiting.get(key) is not leased:
                continue  # given back meanwhile
            if deaths is not None and not is_poison(deaths):
                self._deaths[key] = deaths
                continue
            self._forget(key)
            if deaths is None:
                handler.put_off(leased)
            else:
                handler.hold(leased)

    async def _read(self, key: Key) -> int:
        """Return in how many trials in a row its process died."""
        found = await self._bucket.get(_name(key))
        if found is None or is_deletion(found) or not found.data.isdigit():
            return 0
        return int(found.data)

    async def _try(
        self, leased: JetStreamLeasedRecord, deaths: int, handler: SuspectHandler
    ) -> None:
        """Hand a suspect out, and wait until its trial has ended or has taken long."""
        key = leased.key
        self._forget(key)
        self._under_way[key] = over = asyncio.Event()
        log.warning(
            "a record whose processes died is tried apart from others like it",
            record_id=str(leased.record.record_id),
            deliveries=leased.deliveries,
            deaths=deaths,
        )
        try:
            await self._bucket.put(_name(key), b"%d" % (deaths + 1), lifetime=_REMEMBERED)
        except SpoolFull:
            pass  # its delivery makes room
        except SpoolError as error:
            log.debug("a suspect cannot be noted down", error=str(error))
            if not over.is_set():
                handler.put_off(leased)
            return
        if over.is_set():
            return
        handler.hand_out(leased)
        try:
            async with asyncio.timeout(self._alone):
                await over.wait()
        except TimeoutError:
            pass

    def _forget(self, key: Key) -> None:
        self._waiting.pop(key, None)
        self._deaths.pop(key, None)


def _name(key: Key) -> str:
    return f"suspect.{key.shard}-{key.token}"
