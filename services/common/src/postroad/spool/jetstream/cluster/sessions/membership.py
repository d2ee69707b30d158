"""
This process as a member of the cluster: it keeps its session, and follows those of all others.

Nobody is notified when a key expires, so all sessions are read every 3 s, after each renewal of the
own one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.agreement import SessionInfo
from postroad.spool.errors import SpoolError, SpoolUnavailable
from postroad.spool.jetstream.cluster.sessions.all_sessions import AllSessions
from postroad.spool.jetstream.cluster.sessions.own_session import OwnSession
from postroad.spool.jetstream.cluster.sessions.recollection import is_earlier_life
from postroad.spool.jetstream.cluster.sessions.takers import Takers
from postroad.spool.jetstream.nats.key_value import Bucket
from postroad.spool.jetstream.timings import Timings
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_DEAF = 2.5  # renewals without a reading


class Membership:
    """
    Implements agreement.Sessions.

    The own session is in `bucket`, those of some roles in `beside`. `remake` creates a lost bucket
    again; None if this process may not. `is_full` says whether this process refuses new mail,
    `refusing` which streams take nothing from it, and why.
    """

    def __init__(
        self,
        bucket: Bucket,
        info: SessionInfo,
        timings: Timings,
        *,
        takers: Takers,
        beside: Bucket | None = None,
        remake: Callable[[], Awaitable[None]] | None,
        is_full: Callable[[], bool] = lambda: False,
        refusing: Callable[[], tuple[tuple[str, str], ...]] = tuple,
    ) -> None:
        life = timings.session_life
        self._all = AllSessions(
            *(bucket, beside, takers, info.session_id),
            life=life,
            shows=info.role == "command",
        )
        self._own = OwnSession(
            *(bucket, takers, info, timings),
            sessions=self._all,
            is_full=is_full,
            refusing=refusing,
        )
        self._remake = remake
        self._renewal = timings.renewal.total_seconds()
        self._known_of: tuple[SessionInfo, ...] = ()
        self._known_by_all: frozenset[str] = frozenset()  # features, as told in these sessions
        self._is_untold = False  # whether `left_open` may not be written yet
        self._tasks = BackgroundTasks(INTERNAL_ERRORS)
        self._is_kept = False
        self._changed = asyncio.Event()

    @property
    def session_id(self) -> str:
        """This process's session."""
        return self._own.info.session_id

    @property
    def process(self) -> str:
        """This process's name, for people."""
        return self._own.info.process

    @property
    def seen(self) -> tuple[SessionInfo, ...]:
        """The sessions when they were last read, at most a few seconds ago."""
        return self._all.seen

    def all_know(self, feature: str) -> bool:
        """Whether there are delivery processes, and all of them tell that they know a feature."""
        if self._known_of is not self.seen:
            self._known_of = self.seen
            told = [set(each.features) for each in self.seen if each.role == "delivery"]
            self._known_by_all = frozenset(set.intersection(*told)) if told else frozenset()
        return feature in self._known_by_all

    @property
    def hears_others(self) -> bool:
        """Whether the sessions are being read, so that `seen` is not older than a few seconds."""
        return asyncio.get_running_loop().time() - self._all.heard < _DEAF * self._renewal

    @property
    def known(self) -> int:
        """The last revision of a session that this process has written or read."""
        return max(self._own.revision, self._all.looked)

    @property
    def looked(self) -> int:
        """The revision of sessions up to which `seen` is current."""
        return self._all.looked

    @property
    def remembers(self) -> bool:
        """Whether keys were lost so recently that some may not have been written again."""
        return self._all.remembers

    @property
    def restarted(self) -> int:
        """When all servers were last restarted, or soon after; nanoseconds by their clock."""
        return self._all.restarted

    @property
    def resets(self) -> int:
        """How often this process's key, and perhaps its claims, were lost."""
        return self._all.resets

    @property
    def settled(self) -> bool:
        """Whether a lane without an owner key really has no owner, and may be taken."""
        return self._own.noted and self._all.certain

    @property
    def confirmed(self) -> float:
        """
        The loop time at which the last confirmed renewal was sent.

        Messages that have arrived since were sent since, because one connection keeps their order.
        """
        return self._own.confirmed

    def alive(self) -> bool:
        """Whether this process may consider itself alive."""
        return self._own.alive()

    # ------------------------------------------------------------ keeping it

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
        left = [info for info in sessions if is_earlier_life(info, self._own.info)]
        if not left:
            return
        for info in left:
            try:
                await self._own.end(info)
                log.info("an earlier session of this process was ended")
            except SpoolError as error:
                log.debug("an earlier session ends by expiry", error=str(error))
        await self.look()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._renewal)
            try:
                await self._renew_or_remake()
                await self._own.note()
                await self.look()
            except SpoolError as error:
                log.warning("the session could not be renewed", error=str(error))
            self._ring()

    async def _renew_or_remake(self) -> None:
        try:
            await self._own.renew()
        except SpoolUnavailable:
            if self._remake is None:
                raise
            await self._remake()
            await self._own.renew()

    async def close(self) -> None:
        """End the session now, so that others need not wait for its expiry."""
        if self._is_kept:
            await self._tasks.cancel()
            await self._own.close()

    # ------------------------------------------------------------ the others

    async def look(self) -> Sequence[SessionInfo]:
        """Read all sessions now."""
        return await self._all.look(taking=self._own.info.taking, kept=self._is_kept)

    async def live(self) -> Sequence[SessionInfo]:
        """Return every live session, read now."""
        return await self.look()

    async def hear_others(self) -> None:
        """Read the sessions again if only the earlier takers' word is missing to be settled."""
        if not self._all.joins:
            return
        try:
            await self.look()
        except SpoolError as error:
            log.debug("lanes cannot be taken for now", error=str(error))

    async def same_memory(self) -> bool:
        """Whether no keys were lost since the last look; call it after writing a key."""
        return await self._all.same_memory()

    async def changed(self) -> None:
        """Wait until the sessions are read again."""
        await self._changed.wait()

    def _ring(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # ------------------------------------------------------------ telling of this process

    async def announce(self, generation: int, *, stale: bool = False) -> None:
        """Tell which configuration generation is in force here, and whether it is incomplete."""
        self._own.change(generation=generation, stale=stale)
        if self._is_kept:
            await self._own.renew()

    async def set_taking(self, taking: bool) -> None:
        """Tell whether this process takes mail: only such processes get lanes."""
        self._own.change(taking=taking)
        if taking:
            try:
                await self._own.note()
                await self._all.read_memory()
                await self._own.forget_earlier_notes()
            except SpoolError as error:
                log.warning("this process takes mail a little later", error=str(error))
        await self._tell()

    async def set_unserved(self, pools: tuple[str, ...]) -> None:
        """Tell in which pools without processes this process found mail."""
        if pools != self._own.info.unserved:
            self._own.change(unserved=pools)
            await self._tell()

    async def set_left_open(self, left_open: tuple[tuple[str, int], ...]) -> None:
        """Tell which connections are in use in left lanes; SpoolError if it may not be written."""
        if left_open != self._own.info.left_open or self._is_untold:
            self._is_untold = True
            self._own.change(left_open=left_open)
            await self._own.renew()
            self._is_untold = False

    async def settle(self, generation: int, *, now: bool) -> None:
        """
        Tell that this process has settled a configuration, with `now` at once.

        SpoolError if that cannot be written.
        """
        self._own.change(settled=generation)
        if now:
            await self._own.renew()

    def await_settled(self, generation: int) -> None:
        """Tell with the next renewal that others must settle a configuration; 0: none."""
        if generation != self._own.info.awaits:
            self._own.change(awaits=generation)

    async def _tell(self) -> None:
        try:
            await self._own.renew()
        except SpoolError as error:
            log.warning("the session could not be renewed", error=str(error))
