"""
Who is alive in the cluster: one session key for each process, renewed while it lives.

A key lives 18 s and is renewed every 3 s by compare-and-set; expiry is announced to nobody, so all
sessions are read every 3 s. Killing a JetStream leader costs up to 9 s without renewals: shorter
times would stop all lanes at once. A process whose last confirmed renewal was sent 15 s ago has to
take itself for dead: others will, 3 s later.

The keys live in the servers' memory, and all of them are gone once every server has been down, with
a single server the bucket too: then whoever comes first makes it anew. Who
finds its own key gone takes that for the cause, and keeps the sessions it knew for alive until they
have had the time to write theirs again: else the first to look would own every lane.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from postroad.spool.agreement import SessionInfo
from postroad.spool.bucket import Bucket, Outdated, is_deletion
from postroad.spool.errors import SpoolError, SpoolUnavailable
from postroad.spool.log import get_logger

log = get_logger("spool.membership")

SESSION_KEYS = "session.*"


@dataclass(frozen=True, slots=True)
class Timings:
    """The clockwork of sessions and leases; tests wind it faster."""

    session_life: timedelta = timedelta(seconds=18)
    renewal: timedelta = timedelta(seconds=3)
    self_doubt: timedelta = timedelta(seconds=15)
    ack_wait: timedelta = timedelta(seconds=20)
    lease_fresh: timedelta = timedelta(seconds=12)
    sweep: timedelta = timedelta(seconds=60)
    page_pause: timedelta = timedelta(seconds=2)  # of a sweep, after each page
    pools: timedelta = timedelta(seconds=10)  # between looks for pools that hold mail
    alone: timedelta = timedelta(seconds=15)  # of a suspect: no other is tried beside it
    gathering: timedelta = timedelta(seconds=2)  # of the destinations of shared bodies that ended
    abandoned: timedelta = timedelta(hours=1)  # until an unfinished body is taken for left behind


class Membership:
    """Implements agreement.Sessions: this process's session, and a view of all others."""

    def __init__(
        self,
        bucket: Bucket,
        info: SessionInfo,
        timings: Timings,
        *,
        remake: Callable[[], Awaitable[None]],
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        self._bucket = bucket
        self._remake = remake  # makes the bucket anew if it is gone
        self._is_full = is_full  # whether this process would refuse new mail
        self._info = info
        self._timings = timings
        self._doubts_after = timings.self_doubt.total_seconds()
        self._revision = 0
        self._confirmed = float("-inf")  # loop time at which the last confirmed renewal was sent
        self._live: tuple[SessionInfo, ...] = ()
        self._looked = 0  # the revision that the last look at all sessions came to
        self._remembered: tuple[SessionInfo, ...] = ()  # of before the keys were lost
        self._remember_until = float("-inf")
        self._is_untold = False  # whether what was left open is not known to be written
        self.resets = 0  # how often the keys were lost
        self._keeper: asyncio.Task[None] | None = None
        self._renewing = asyncio.Lock()
        self._changed = asyncio.Event()

    @property
    def session_id(self) -> str:
        """This process's session."""
        return self._info.session_id

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
        return asyncio.get_running_loop().time() < self._remember_until

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
        self._keeper = asyncio.create_task(self._keep())

    async def _end_predecessors(self, sessions: Sequence[SessionInfo]) -> None:
        """
        End the sessions that earlier lives of this process have left: they are over.

        Nobody else can know so before they expire, and until then their lanes stand still. Only
        for a name that was given: whoever started us does not run two of one name. Several
        processes may go by that of their role.
        """
        own = self._info
        left = [
            info
            for info in sessions
            if (info.role, info.process) == (own.role, own.process)
            and info.session_id != own.session_id
            and info.started <= own.started
        ]
        if not left or own.process == own.role:
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
            self._info = replace(self._info, full=self._is_full())
            value = json.dumps(asdict(self._info), default=str).encode()
            try:
                self._revision = await self._put(value, self._revision)
            except Outdated:
                # Expired, or an answer was lost: take the key as it is now.
                found = await self._bucket.get(self._key)
                known = found.sequence if found is not None else 0
                if (
                    known == 0
                    and self._confirmed > sent - self._timings.session_life.total_seconds()
                ):
                    self._remember(sent)
                self._revision = await self._put(value, known)
            self._looked = min(self._looked, self._revision)  # it is larger where keys were lost
            self._confirmed = sent

    def _remember(self, now: float) -> None:
        log.warning("this process's session was gone; it is written again")
        self.resets += 1
        self._remembered = self._live
        self._remember_until = now + self._timings.session_life.total_seconds()

    async def _put(self, value: bytes, expected: int) -> int:
        return await self._bucket.put(
            self._key, value, expected=expected, lifetime=self._timings.session_life
        )

    @property
    def _key(self) -> str:
        return f"session.{self._info.session_id}"

    async def look(self) -> Sequence[SessionInfo]:
        """Read all sessions now."""
        found: list[SessionInfo] = []
        after, pending = 0, 1
        while pending:
            page = await self._bucket.changes(SESSION_KEYS, after=after)
            for message in page.messages:
                after = message.sequence
                if not is_deletion(message):
                    info = _decode(message.data)
                    found += [info] if info is not None else []
            pending = page.pending if page.messages else 0
        if self.remembers:
            known = {info.session_id for info in found}
            found += [info for info in self._remembered if info.session_id not in known]
        elif after < self._looked:
            return self._live  # a follower lags
        self._looked = after
        self._live = tuple(sorted(found, key=lambda info: info.session_id))
        return self._live

    async def announce(self, generation: int, *, stale: bool = False) -> None:
        """Tell which configuration generation is in force here, and whether it is read in part."""
        self._info = replace(self._info, generation=generation, stale=stale)
        if self._keeper is not None:
            await self._renew()

    async def set_taking(self, taking: bool) -> None:
        """Tell whether this process takes mail: only those that do are given lanes."""
        await self._tell(replace(self._info, taking=taking))

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
        if self._keeper is None:
            return
        self._keeper.cancel()
        try:
            await self._bucket.remove(
                self._key, patience=timedelta(seconds=1), lifetime=timedelta(seconds=1)
            )
        except SpoolError as error:
            log.debug("the session ends by expiry", error=str(error))


def _decode(data: bytes) -> SessionInfo | None:
    try:
        said = json.loads(data)
        return SessionInfo(
            session_id=str(said["session_id"]),
            role=str(said["role"]),
            process=str(said["process"]),
            pool=str(said["pool"]),
            generation=int(said["generation"]),
            started=datetime.fromisoformat(said["started"]),
            taking=said.get("taking") is True,
            full=said.get("full") is True,
            unserved=tuple(str(pool) for pool in said.get("unserved", ())),
            stale=said.get("stale") is True,
            left_open=tuple((str(name), int(count)) for name, count in said.get("left_open", ())),
        )
    except (ValueError, KeyError, TypeError):
        return None  # of another release, or not a session: it owns nothing here
