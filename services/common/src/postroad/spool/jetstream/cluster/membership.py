"""
The live processes of the cluster: one session key for each process, renewed while it lives.

A role may write only keys with its own name. A key lives 18 s and is renewed every 3 s by compare-
and-set. Nobody is notified when a key expires, so all sessions are read every 3 s. After the death
of a JetStream leader there may be no renewals for 9 s; shorter times would stop all lanes at once.
A process whose last confirmed renewal was sent 15 s ago must consider itself dead, because others
will, 3 s later.

The keys are in the servers' memory. They are all lost when every server was down. A single server
then loses the bucket as well: the operator creates it again, and all others wait for it. A process
that finds its own key missing, or the memory under another name, considers the sessions that it
knew as alive until they have had time to write their keys again. Otherwise the first reader would
own every lane. A process that starts at that moment knew nobody. It considers the processes noted
on disk (`spool.jetstream.cluster.takers`) as alive for the same time, or until all of them have
told that their claims are in this memory.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.agreement import SessionInfo
from postroad.spool.errors import SpoolError, SpoolFull, SpoolUnavailable
from postroad.spool.jetstream.cluster.recollection import Recollection, is_earlier_life, with_others
from postroad.spool.jetstream.cluster.takers import Takers, encode, read_sessions, session_key
from postroad.spool.jetstream.nats.key_value import Bucket, Outdated
from postroad.spool.jetstream.timings import Timings
from postroad.spool.metrics import INTERNAL_ERRORS, SESSIONS_LOST
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)


class Membership:
    """Implements agreement.Sessions: this process's session, and a copy of all others."""

    def __init__(
        self,
        bucket: Bucket,
        info: SessionInfo,
        timings: Timings,
        *,
        takers: Takers,
        remake: Callable[[], Awaitable[None]] | None,
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        self._bucket = bucket
        self._takers = takers
        self._remake = remake  # creates a lost bucket again; None if this process may not
        self._is_full = is_full  # whether this process refuses new mail
        self._info = info
        self._key = session_key(info)
        self._timings = timings
        self._doubts_after = timings.self_doubt.total_seconds()
        self._revision = 0
        self._confirmed = float("-inf")  # loop time at which the last confirmed renewal was sent
        self._live: tuple[SessionInfo, ...] = ()
        self._looked = 0  # the last revision when all sessions were last read
        self._is_untold = False  # whether `left_open` may not be written yet
        self._recollection = Recollection(timings.session_life.total_seconds())
        self._noted = False  # noted on disk, if there was room
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
        """This process's name, for people."""
        return self._info.process

    @property
    def seen(self) -> tuple[SessionInfo, ...]:
        """The sessions when they were last read, at most a few seconds ago."""
        return self._live

    @property
    def known(self) -> int:
        """The last revision of a session that this process has written or read."""
        return max(self._revision, self._looked)

    @property
    def looked(self) -> int:
        """The revision of sessions up to which `seen` is current."""
        return self._looked

    @property
    def remembers(self) -> bool:
        """Whether keys were lost so recently that some may not have been written again."""
        return self._recollection.lives(asyncio.get_running_loop().time())

    @property
    def resets(self) -> int:
        """How often this process's key, and perhaps its claims, were lost."""
        return self._recollection.losses

    @property
    def settled(self) -> bool:
        """Whether a lane without an owner key really has no owner, and may be taken."""
        return self._noted and bool(self._recollection.memory) and not self.remembers

    async def hear_others(self) -> None:
        """Read the sessions again if only the earlier takers' word is missing to be settled."""
        if not (self._recollection.joining and self.remembers):
            return
        try:
            await self.look()
        except SpoolError as error:
            log.debug("lanes cannot be taken for now", error=str(error))

    async def same_memory(self) -> bool:
        """Whether no keys were lost since the last look; call it after writing a key."""
        if await self._takers.memory() == self._recollection.memory:
            return True
        self._recollection.lose(self._live, asyncio.get_running_loop().time())
        return False

    @property
    def confirmed(self) -> float:
        """
        The loop time at which the last confirmed renewal was sent.

        Messages that have arrived since were sent since, because one connection keeps their order.
        """
        return self._confirmed

    def alive(self) -> bool:
        """Whether this process may consider itself alive."""
        now = asyncio.get_running_loop().time()
        return now - self._confirmed < self._doubts_after

    async def start(self) -> None:
        """Write this process's session and keep it. Raises SpoolUnavailable."""
        await self._renew_or_remake()
        await self._end_predecessors(await self.look())
        self._is_kept = True
        self._tasks.keep(self._keep)

    async def _end_predecessors(self, sessions: Sequence[SessionInfo]) -> None:
        """
        End the sessions of earlier lives of this process.

        Others would notice only when they expire, and until then their lanes would stand still. It
        is done only for a process with a name of its own, which runs once. Several processes may
        have the name of their role.
        """
        left = [info for info in sessions if is_earlier_life(info, self._info)]
        if not left:
            return
        for info in left:
            try:
                await self._bucket.remove(
                    session_key(info),
                    patience=timedelta(seconds=1),
                    lifetime=timedelta(seconds=1),
                )
                log.info("an earlier session of this process was ended")
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
            if self._remake is None:
                raise
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
                # The key expired, or an answer was lost: read it again.
                found = await self._bucket.get(self._key)
                known = found.sequence if found is not None else 0
                if known == 0 and self._revision:
                    self._was_gone(sent)
                self._revision = await self._put(value, known)
            self._looked = min(self._looked, self._revision)  # revisions restart after a loss
            self._confirmed = sent

    def _was_gone(self, now: float) -> None:
        """Handle a missing key: this process is dead for the others, or all keys were lost."""
        log.warning("this process's session was lost; it is written again")
        SESSIONS_LOST.inc()
        self._note_again = float("-inf")  # others may have deleted the note
        if self._confirmed > now - self._timings.session_life.total_seconds():
            self._recollection.lose(self._live, now)
        else:
            self._recollection.losses += 1

    async def _note(self) -> None:
        """Note on disk, when it is time to, that this process takes mail."""
        now = asyncio.get_running_loop().time()
        if not self._info.taking or now < self._note_again:
            return
        try:
            await self._takers.note(self._info)
            self._note_again = now + Takers.NOTED_AGAIN.total_seconds()
        except SpoolFull as error:
            # Mail that leaves makes room. The note is needed only if all servers fail meanwhile.
            log.debug("the note that this process takes mail is written later", error=str(error))
        self._noted = True

    async def _put(self, value: bytes, expected: int) -> int:
        return await self._bucket.put(
            self._key, value, expected=expected, lifetime=self._timings.session_life
        )

    async def look(self) -> Sequence[SessionInfo]:
        """Read all sessions now."""
        if self._info.taking:
            try:
                await self._read_memory()
            except SpoolUnavailable as error:  # writes fail: no lane can be taken either
                log.debug("the servers' memory has no name yet", error=str(error))
        found, revision = await read_sessions(self._bucket)
        if self.remembers:
            found = with_others(found, self._recollection.sessions)
        elif revision < self._looked:
            if self._is_kept and all(info.session_id != self.session_id for info in found):
                raise SpoolUnavailable("the keys of sessions were lost")
            return self._live  # a lagging follower has answered
        if self._info.taking and (self.remembers or self._recollection.joining):
            found = await self._with_noted(found)
        self._looked = revision
        self._live = tuple(sorted(found, key=lambda info: info.session_id))
        return self._live

    async def _read_memory(self) -> None:
        memory = await self._takers.memory()
        self._recollection.read(memory, self._live, asyncio.get_running_loop().time())

    async def _with_noted(self, found: list[SessionInfo]) -> list[SessionInfo]:
        """Add the processes that are noted on disk, while they may be alive."""
        noted = await self._takers.noted()
        if not self.remembers:
            self._recollection.compare(())  # time is up: a process without a session is dead
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
        """Tell which configuration generation is in force here, and whether it is incomplete."""
        self._info = replace(self._info, generation=generation, stale=stale)
        if self._is_kept:
            await self._renew()

    async def set_taking(self, taking: bool) -> None:
        """Tell whether this process takes mail: only such processes get lanes."""
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
        """Tell in which pools without processes this process found mail."""
        if pools != self._info.unserved:
            await self._tell(replace(self._info, unserved=pools))

    async def set_left_open(self, left_open: tuple[tuple[str, int], ...]) -> None:
        """Tell which connections are in use in left lanes; SpoolError if it may not be written."""
        if left_open != self._info.left_open or self._is_untold:
            self._is_untold = True
            self._info = replace(self._info, left_open=left_open)
            await self._renew()
            self._is_untold = False

    async def settle(self, generation: int, *, now: bool) -> None:
        """
        Tell that this process has settled a configuration, with `now` at once.

        SpoolError if that cannot be written.
        """
        self._info = replace(self._info, settled=generation)
        if now:
            await self._renew()

    def await_settled(self, generation: int) -> None:
        """Tell with the next renewal that others must settle a configuration; 0: none."""
        self._info = replace(self._info, awaits=generation)

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
        """Wait until the sessions are read again."""
        await self._changed.wait()

    def _ring(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def close(self) -> None:
        """End the session now, so that others need not wait for its expiry."""
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
