"""
Finds which records of a pack have ended, when it comes again.

A pack is acknowledged when its last record has ended. If its process dies before that, it comes
again with all of them. The history of mail says which have ended: it is written after 10 ms, and is
on disk. So before any record of the pack begins, this process writes its own part of the history,
and reads the whole: since the pack was stored, or for half an hour if that is shorter. Delivery may
have been away for longer than that. So for the first half hour of a process, it reads from half an
hour before the last end that it found when it began. A read serves all packs that came before it
began. Of what it reads, it keeps only what these packs have.

Without an answer for half a minute, or without the permission to read the history, mail of such a
pack is delivered again.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.cluster.ended import (
    PATIENCE,
    Ended,
    last_end,
    read_ends,
    without_ended,
)
from postroad.spool.jetstream.cluster.event_log import JetStreamEvents
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.record import QueueRecord
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

# A pack is open for as long as its slowest attempt, and what waited for that in line.
_OPEN_AT_MOST = timedelta(minutes=30)
_AWAY_COUNTS = timedelta(minutes=30)  # for which packs may come that were open when delivery ended
_CLOCKS_DIFFER = timedelta(seconds=10)  # of two servers, which store the pack and its history


@dataclass(slots=True)
class _Read:
    """One read of the history, for all packs that have asked for it before it began."""

    stored: datetime
    wanted: set[str] = field(default_factory=set)
    found: Ended | None = None


class EndedInPacks:
    """Reads the history for packs that come again."""

    def __init__(self, link: Link, events: JetStreamEvents) -> None:
        self._link = link
        self._events = events
        self._reading = asyncio.Lock()
        self._next: _Read | None = None
        self._began: datetime | None = None  # when it was read first
        self._last_before = datetime.now(UTC)  # when mail had last ended at that time
        self._failed: float | None = None  # loop time of the first failure in a row

    async def left_of(
        self, records: Sequence[QueueRecord], stored: datetime
    ) -> list[QueueRecord | None]:
        """
        Return what is left of each record, None if nothing is, of a pack stored at that time.

        Raises SpoolUnavailable, for half a minute at most.
        """
        if self._next is None:
            self._next = _Read(stored)
        read = self._next
        read.stored = min(read.stored, stored)
        read.wanted.update(str(record.record_id) for record in records)
        async with self._reading:
            if read is self._next:
                self._next = None
                read.found = await self._read(read)
        if read.found is None:
            raise SpoolUnavailable("the history could not be read")
        return [without_ended(each, read.found.get(str(each.record_id), {})) for each in records]

    async def _read(self, read: _Read) -> Ended:
        now = asyncio.get_running_loop().time()
        try:
            await self._events.written()
            since = await self._since(read.stored)
            found = await read_ends(self._link, since, None, read.wanted)
        except SpoolUnavailable as error:
            if self._failed is None:
                self._failed = now
            if now - self._failed < PATIENCE.total_seconds():
                raise
            log.warning(
                "the history cannot be read: mail that ended may be sent again", error=str(error)
            )
            return {}
        self._failed = None
        return found

    async def _since(self, stored: datetime) -> datetime:
        """Return from when on records of a pack may have ended that was stored at that time."""
        now = datetime.now(UTC)
        if self._began is None:
            self._last_before = min(await last_end(self._link) or now, now)
            self._began = now
        until = self._last_before if now - self._began < _AWAY_COUNTS else now
        return max(stored, until - _OPEN_AT_MOST) - _CLOCKS_DIFFER
