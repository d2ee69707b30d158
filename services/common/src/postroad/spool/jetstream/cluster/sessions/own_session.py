"""
The session of this process: one key, renewed by compare-and-set, and a note on disk.

A role may write only keys with its own name. A key lives 18 s and is renewed every 3 s. After the
death of a JetStream leader there may be no renewals for 9 s; shorter times would stop all lanes at
once. A process whose last confirmed renewal was sent 15 s ago must consider itself dead, because
others will, 3 s later.

One lock is held by a renewal from the time that counts for it to the answer, so the key has what
was told last.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from postroad.spool.agreement import SessionInfo
from postroad.spool.errors import RecordTooLarge, SpoolError, SpoolFull
from postroad.spool.jetstream.cluster.sessions.all_sessions import AllSessions
from postroad.spool.jetstream.cluster.sessions.recollection import is_earlier_life
from postroad.spool.jetstream.cluster.sessions.takers import Takers, encode, session_key
from postroad.spool.jetstream.nats.key_value import Bucket, Outdated
from postroad.spool.jetstream.timings import Timings
from postroad.spool.metrics import SESSIONS_LOST
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_SECOND = timedelta(seconds=1)


class OwnSession:
    """
    This process's key.

    `is_full` says whether this process refuses new mail, `refusing` which streams take nothing from
    it, and why.
    """

    def __init__(
        self,
        bucket: Bucket,
        takers: Takers,
        info: SessionInfo,
        timings: Timings,
        *,
        sessions: AllSessions,
        is_full: Callable[[], bool],
        refusing: Callable[[], tuple[tuple[str, str], ...]],
    ) -> None:
        self._bucket = bucket
        self._takers = takers
        self.info = info
        self._key = session_key(info)
        self._timings = timings
        self._doubts_after = timings.self_doubt.total_seconds()
        self._sessions = sessions
        self._is_full = is_full
        self._refusing = refusing
        self.revision = 0
        self.confirmed = float("-inf")  # loop time at which the last confirmed renewal was sent
        self.noted = False  # noted on disk, if there was room
        self._note_again = float("-inf")
        self._renewing = asyncio.Lock()

    def alive(self) -> bool:
        """Whether this process may consider itself alive."""
        now = asyncio.get_running_loop().time()
        return now - self.confirmed < self._doubts_after

    def change(self, **fields: Any) -> None:
        """Change what the next renewal tells."""
        self.info = replace(self.info, **fields)

    async def renew(self) -> None:
        """Write the key now. Raises SpoolError."""
        async with self._renewing:
            sent = asyncio.get_running_loop().time()
            self.change(
                full=self._is_full(),
                refusing=self._refusing(),
                memory=self._sessions.claimed_in(sent),
            )
            value = encode(self.info)
            try:
                self.revision = await self._put(value, self.revision)
            except Outdated:
                # The key expired, or an answer was lost: read it again.
                found = await self._bucket.get(self._key)
                known = found.sequence if found is not None else 0
                if known == 0 and self.revision:
                    self._was_gone(sent)
                self.revision = await self._put(value, known)
            self._sessions.wrote(self.revision)
            self.confirmed = sent

    def _was_gone(self, now: float) -> None:
        log.warning("this process's session was lost; it is written again")
        SESSIONS_LOST.inc()
        self._note_again = float("-inf")  # others may have deleted the note
        self._sessions.own_key_was_gone(self.confirmed, now)

    async def _put(self, value: bytes, expected: int) -> int:
        """Write the key, without what others can do without if the servers take no more."""
        life = self._timings.session_life
        try:
            return await self._bucket.put(self._key, value, expected=expected, lifetime=life)
        except RecordTooLarge as error:
            log.error("this process's session is too large to be stored whole", error=str(error))
            brief = encode(replace(self.info, unserved=(), refusing=()))
            return await self._bucket.put(self._key, brief, expected=expected, lifetime=life)

    async def note(self) -> None:
        """Note on disk, when it is time to, that this process takes mail."""
        now = asyncio.get_running_loop().time()
        if not self.info.taking or now < self._note_again:
            return
        try:
            await self._takers.note(self.info)
            self._note_again = now + Takers.NOTED_AGAIN.total_seconds()
        except SpoolFull as error:
            # Mail that leaves makes room. The note is needed only if all servers fail meanwhile.
            log.debug("the note that this process takes mail is written later", error=str(error))
        self.noted = True

    async def forget_earlier_notes(self) -> None:
        """Delete the notes of earlier lives of this process. Raises SpoolUnavailable."""
        for info in await self._takers.noted():
            if is_earlier_life(info, self.info):
                await self._takers.forget(info.session_id)

    async def end(self, info: SessionInfo) -> None:
        """Remove the key of a session, of this process or of an earlier life. Raises SpoolError."""
        await self._bucket.remove(session_key(info), patience=_SECOND, lifetime=_SECOND)

    async def close(self) -> None:
        """Remove the key and the note."""
        try:
            await self.end(self.info)
        except SpoolError as error:
            log.debug("the session ends by expiry", error=str(error))
        if self.noted:
            await self._takers.forget(self.info.session_id)
