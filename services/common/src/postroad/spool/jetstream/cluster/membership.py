"""
Who is alive in the cluster: one session key for each process, renewed while it lives.

A key lives 18 s and is renewed every 3 s by compare-and-set; expiry is announced to nobody, so all
sessions are read every 3 s. Killing a JetStream leader costs up to 9 s without renewals: shorter
times would stop all lanes at once. A process whose last confirmed renewal was sent 15 s ago has to
take itself for dead: others will, 3 s later.

The keys live in the servers' memory, and all of them are gone once every server has been down, with
a single server the bucket too: then whoever comes first makes it anew. Who finds its own key gone,
or the memory under another name, keeps the sessions it knew for alive until they have had the time
to write theirs again: else the first to look would own every lane. Who starts in that moment knew
nobody. It keeps for alive who is noted on disk (`spool.jetstream.cluster.takers`), for as long,
unless all of them have told that what they claimed is in this memory.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.agreement import SessionInfo
from postroad.spool.errors import SpoolError, SpoolFull, SpoolUnavailable
from postroad.spool.jetstream.cluster.recollection import Recollection, is_earlier_life, with_others
from postroad.spool.jetstream.cluster.takers import NOTED_AGAIN, Takers, encode, read_sessions
from postroad.spool.jetstream.nats.key_value import Bucket, Outdated, is_deletion
from postroad.spool.jetstream.timings import Timings
from postroad.spool.metrics import INTERNAL_ERRORS, SESSIONS_LOST
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

SESSION_KEYS = "session.*"


class Membership:
    """Implements agreement.Sessions: this process's session, and a view of all others."""

    def __init__(
        self,
        bucket: Bucket,
        info: SessionInfo,
        timings: Timings,
        *,
        takers: Takers,
        remake: Callable[[], Awaitable[None]],
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        self._bucket = bucket
        self._takers = takers
        self._remake = remake  # makes the bucket anew if it is gone
        self._is_full = is_full  # whether this process would refuse new mail
        self._info = info
        self._timings = timings
        self._doubts_after = timings.self_doubt.total_seconds()
        self._revision = 0
        self._confirmed = float("-inf")  # loop time at which the last confirmed renewal was sent
        self._live: tuple[SessionInfo, ...] = ()
        self._looked = 0  # the revision that the last look at all sessions came to
        self._is_untold = False  # whether what was left open is not known to be written
        self._recollection = Recollection(timings.session_life.total_seconds())
        self._noted = False  # on disk, if there was room
        self._note_again = float("-inf")
        self._tasks = BackgroundTasks(INTERNAL_ERRORS)
        self._is_kept = False
        self._renewing = asyncio.Lock()
        self._changed = asyncio.Event()

    @property
    def session_id(self) -> str:
        """This process's session."""
        return self._info.session_id

    @property
    def process(self) -> str:
        """This process, as people know it."""
        return self._info.process

    @property
    def seen(self) -> tuple[SessionInfo, ...]:
        """The sessions as of the last look, at most a few seconds old."""
        return self._live

    @property
    def known(self) -> int:
        """The last revision of a session that this process has written or read."""
        return max(self._revision, self._looked)

    @property
    def looked(self) -> int:
        """The revision of a session that `seen` is as new as."""
        return self._looked

    @property
    def remembers(self) -> bool:
        """Whether the keys were lost so lately that not all may have been written again."""
        return self._recollection.lives(asyncio.get_running_loop().time())

    @property
    def resets(self) -> int:
        """How often this process's key was gone, and what it claimed may be."""
        return self._recollection.losses

    @property
    def settled(self) -> bool:
        """Whether a lane that has no owner by the keys has none: it may be taken."""
        return self._noted and bool(self._recollection.memory) and not self.remembers

    async def hear_others(self) -> None:
        """Look again where the word of those that began to take mail before is all that lacks."""
        if not (self._recollection.joining and self.remembers):
            return
        try:
            await self.look()
        except SpoolError as error:
            log.debug("lanes cannot be taken for now", error=str(error))

    async def same_memory(self) -> bool:
        """Whether the keys were not lost since the last look; asked after one was written."""
        if await self._takers.memory() == self._recollection.memory:
            return True
        self._recollection.lose(self._live, asyncio.get_running_loop().time())
        return False

    async def is_known(self) -> bool:
        """Whether this process's session is there; if not, all keys may have been lost."""
        found = await self._bucket.get(self._key)
        return found is not None and not is_deletion(found)

    @property
    def confirmed(self) -> float:
        """
        The loop time at which the last renewal that was answered was sent.

        What has arrived since was sent since: one connection keeps the order.
        """
        return self._confirmed

    def alive(self) -> bool:
        """Whether this process may take itself for alive."""
        now = asyncio.get_running_loop().time()
        return now - self._confirmed < self._doubts_after

    async def start(self) -> None:
        """Join; SpoolUnavailable when that cannot be told."""
        await self._renew_or_remake()
        await self._end_predecessors(await self.look())
        self._is_kept = True
        self._tasks.spawn(self._keep())

    async def _end_predecessors(self, sessions: Sequence[SessionInfo]) -> None:
        """
        End the sessions that earlier lives of this process have left: they are over.

        Nobody else can know so before they expire, and until then their lanes stand still. Only
        for a name that was given: whoever started us does not run two of one name. Several
        processes may go by that of their role.
        """
        left = [info for info in sessions if is_earlier_life(info, self._info)]
        if not left:
            return
        for info in left:
            try:
                await self._bucket.remove(
                    f"session.{info.session_id}",
                    patience=timedelta(seconds=1),
                    lifetime=timedelta(seconds=1),
                )
                log.info("the session of an earlier life of this process is ended")
            except SpoolError as error:
                log.debug("an earlier session ends by expiry", error=str(error))
        await self.look()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._timings.renewal.total_seconds())
            try:
                await self._renew_or_remake()
                await self._note()
                await self.look()
            except SpoolError as error:
                log.warning("the session could not be renewed", error=str(error))
            self._ring()

    async def _renew_or_remake(self) -> None:
        try:
            await self._renew()
        except SpoolUnavailable:
            await self._remake()
            await self._renew()

    async def _renew(self) -> None:
        async with self._renewing:
            sent = asyncio.get_running_loop().time()
            memory = self._recollection.claimed_in(sent)
            self._info = replace(self._info, full=self._is_full(), memory=memory)
            value = encode(self._info)
            try:
                self._revision = await self._put(value, self._revision)
            except Outdated:
                # Expired, or an answer was lost: take the key as it is now.
                found = await self._bucket.get(self._key)
                known = found.sequence if found is not None else 0
                if known == 0 and self._revision:
                    self._was_gone(sent)
                self._revision = await self._put(value, known)
            self._looked = min(self._looked, self._revision)  # it is larger where keys were lost
            self._confirmed = sent

    def _was_gone(self, now: float) -> None:
        """This process's key was gone: it is dead to the others, or all keys were lost."""
        log.warning("this process's session was gone; it is written again")
        SESSIONS_LOST.inc()
        self._note_again = float("-inf")  # others may have taken the note back
        if self._confirmed > now - self._timings.session_life.total_seconds():
            self._recollection.lose(self._live, now)
        else:
            self._recollection.losses += 1

    async def _note(self) -> None:
        """Note on disk that this process takes mail, in time."""
        now = asyncio.get_running_loop().time()
        if not self._info.taking or now < self._note_again:
            return
        try:
            await self._takers.note(self._info)
            self._note_again = now + NOTED_AGAIN.total_seconds()
        except SpoolFull as error:
            # Mail that leaves makes room. What is missed is needed if all servers fall over now.
            log.debug("that this process takes mail is noted later", error=str(error))
        self._noted = True

    async def _put(self, value: bytes, expected: int) -> int:
        return await self._bucket.put(
            self._key, value, expected=expected, lifetime=self._timings.session_life
        )

    @property
    def _key(self) -> str:
        return f"session.{self._info.session_id}"

    async def look(self) -> Sequence[SessionInfo]:
        """Read all sessions now."""
        if self._info.taking:
            try:
                await self._read_memory()
            except SpoolUnavailable as error:  # nobody may write: no lane can be taken either
                log.debug("the servers' memory has no name yet", error=str(error))
        found, revision = await read_sessions(self._bucket, SESSION_KEYS)
        if self.remembers:
            found = with_others(found, self._recollection.sessions)
        elif revision < self._looked:
            return self._live  # a follower lags
        if self._info.taking and (self.remembers or self._recollection.joining):
            found = await self._with_noted(found)
        self._looked = revision
        self._live = tuple(sorted(found, key=lambda info: info.session_id))
        return self._live

    async def _read_memory(self) -> None:
        memory = await self._takers.memory()
        self._recollection.read(memory, self._live, asyncio.get_running_loop().time())

    async def _with_noted(self, found: list[SessionInfo]) -> list[SessionInfo]:
        """Add who is noted on disk, while they may live."""
        noted = await self._takers.noted()
        if not self.remembers:
            self._recollection.compare(())  # all had their time: who has no session is dead
            alive = {info.session_id for info in found}
            for info in noted:
                if info.session_id not in alive:
                    await self._takers.forget(info.session_id)
            return found
        ids = {info.session_id for info in noted}
        found = with_others(found, noted)
        self._recollection.compare(
            info
            for info in found
            if (info.taking or info.session_id in ids) and info.session_id != self.session_id
        )
        return found

    async def announce(self, generation: int, *, stale: bool = False) -> None:
        """Tell which configuration generation is in force here, and whether it is read in part."""
        self._info = replace(self._info, generation=generation, stale=stale)
        if self._is_kept:
            await self._renew()

    async def set_taking(self, taking: bool) -> None:
        """Tell whether this process takes mail: only those that do are given lanes."""
        self._info = replace(self._info, taking=taking)
        if taking:
            try:
                await self._note()
                await self._read_memory()
                for info in await self._takers.noted():
                    if is_earlier_life(info, self._info):
                        await self._takers.forget(info.session_id)
            except SpoolError as error:
                log.warning("this process takes mail a little later", error=str(error))
        await self._tell(self._info)

    async def set_unserved(self, pools: tuple[str, ...]) -> None:
        """Tell in which pools this process found mail that nobody but `default` would take."""
        if pools != self._info.unserved:
            await self._tell(replace(self._info, unserved=pools))

    async def set_left_open(self, left_open: tuple[tuple[str, int], ...]) -> None:
        """Tell what this process has open where lanes were left; SpoolError if that is open."""
        if left_open != self._info.left_open or self._is_untold:
            self._is_untold = True
            self._info = replace(self._info, left_open=left_open)
            await self._renew()
            self._is_untold = False

    async def _tell(self, info: SessionInfo) -> None:
        self._info = info
        try:
            await self._renew()
        except SpoolError as error:
            log.warning("the session could not be renewed", error=str(error))

    async def live(self) -> Sequence[SessionInfo]:
        """Return every live session, read now."""
        return await self.look()

    async def changed(self) -> None:
        """Wait until the sessions have been looked at again."""
        await self._changed.wait()

    def _ring(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def close(self) -> None:
        """Leave: the session ends now, not when it expires."""
        if not self._is_kept:
            return
        await self._tasks.cancel()
        try:
            await self._bucket.remove(
                self._key, patience=timedelta(seconds=1), lifetime=timedelta(seconds=1)
            )
        except SpoolError as error:
            log.debug("the session ends by expiry", error=str(error))
        if self._noted:
            await self._takers.forget(self.session_id)
