"""
The sessions of all processes, as this one has read them.

The keys are in the servers' memory. They are all lost when every server was down. A single server
then loses the bucket as well: the operator creates it again, and all others wait for it. A process
that finds its own key missing, or the memory under another name, considers the sessions that it
knew as alive until they have had time to write their keys again. Otherwise the first reader would
own every lane. A process that starts at that moment knew nobody. It considers the processes noted
on disk (`takers` beside this) as alive for the same time, or until all of them have told that their
claims are in this memory.

The sessions of ingress are in a stream of their own, which an intruder there may fill. So the
sessions in another stream than the own one are read beside. If that fails, those read before
count, because no process of the cluster waits for them. The command fails instead: it shows them.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from postroad.spool.agreement import SessionInfo
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.cluster.sessions.recollection import Recollection, with_others
from postroad.spool.jetstream.cluster.sessions.takers import Takers, read_sessions
from postroad.spool.jetstream.nats.key_value import Bucket
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)


class AllSessions:
    """
    The sessions when they were last read. `session_id` is this process's own.

    The own session is in `bucket`, those of some roles in `beside`; `shows` says that none may be
    missing. A session lasts for `life` after its last renewal.
    """

    def __init__(
        self,
        bucket: Bucket,
        beside: Bucket | None,
        takers: Takers,
        session_id: str,
        *,
        life: timedelta,
        shows: bool,
    ) -> None:
        self._bucket = bucket
        self._beside = beside
        self._shows = shows
        self._seen_beside: list[SessionInfo] = []
        self._takers = takers
        self._session_id = session_id
        self._life = life.total_seconds()
        self._recollection = Recollection(self._life)
        self.seen: tuple[SessionInfo, ...] = ()
        self.restarted = 0  # when the servers' memory got its name; nanoseconds by their clock
        self.heard = float("-inf")  # loop time when `seen` was last read
        self.looked = 0  # the revision of sessions up to which `seen` is current

    @property
    def remembers(self) -> bool:
        """Whether keys were lost so recently that some may not have been written again."""
        return self._recollection.lives(asyncio.get_running_loop().time())

    @property
    def resets(self) -> int:
        """How often this process's key, and perhaps its claims, were lost."""
        return self._recollection.losses

    @property
    def certain(self) -> bool:
        """Whether no process can be alive that was not seen."""
        return bool(self._recollection.memory) and not self.remembers

    @property
    def joins(self) -> bool:
        """Whether this process waits for what earlier takers tell."""
        return self._recollection.joining and self.remembers

    def claimed_in(self, now: float) -> str:
        """Return the name of the memory that has all claims of this process, "" if unsure."""
        return self._recollection.claimed_in(now)

    async def read_memory(self) -> None:
        """Read the name of the servers' memory. Raises SpoolUnavailable."""
        memory = await self._takers.memory()
        self.restarted = int(memory.since.timestamp() * 1e9)
        self._recollection.read(memory.name, self.seen, asyncio.get_running_loop().time())

    async def same_memory(self) -> bool:
        """Whether no keys were lost since the last look; call it after writing a key."""
        if (await self._takers.memory()).name == self._recollection.memory:
            return True
        self._recollection.lose(self.seen, asyncio.get_running_loop().time())
        return False

    def own_key_was_gone(self, confirmed: float, now: float) -> None:
        """
        Note that this process's key was missing; its last renewal was confirmed at `confirmed`.

        Either this process was dead for the others, or all keys were lost.
        """
        if confirmed > now - self._life:
            self._recollection.lose(self.seen, now)
        else:
            self._recollection.losses += 1

    def wrote(self, revision: int) -> None:
        """Note the revision of a key just written: revisions start again after a loss."""
        self.looked = min(self.looked, revision)

    async def look(self, *, taking: bool, kept: bool) -> Sequence[SessionInfo]:
        """
        Read all sessions now.

        `taking` says whether this process takes mail, `kept` whether it keeps a session.
        """
        if taking:
            try:
                await self.read_memory()
            except SpoolUnavailable as error:  # writes fail: no lane can be taken either
                log.debug("the servers' memory has no name yet", error=str(error))
        began = asyncio.get_running_loop().time()
        found, revision = await read_sessions(self._bucket)
        if self.remembers:
            found = with_others(found, self._recollection.sessions)
        elif revision < self.looked:
            if kept and all(info.session_id != self._session_id for info in found):
                raise SpoolUnavailable("the keys of sessions were lost")
            return self.seen  # a lagging follower has answered
        if taking and (self.remembers or self._recollection.joining):
            found = await self._with_noted(found)
        found = with_others(found, await self._read_beside())
        self.looked, self.heard = revision, began
        self.seen = tuple(sorted(found, key=lambda info: info.session_id))
        return self.seen

    async def _read_beside(self) -> list[SessionInfo]:
        if self._beside is not None:
            try:
                self._seen_beside, _ = await read_sessions(self._beside)
            except SpoolUnavailable as error:
                if self._shows:
                    raise
                log.debug("the sessions of other roles cannot be read", error=str(error))
        return self._seen_beside

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
            if (info.taking or info.session_id in ids) and info.session_id != self._session_id
        )
        return found
