"""
The last configuration that this process has settled, as its session tells the others.

An edit may make pools share sites that are in use. Each process first writes what it uses into the
records of these sites; then it has settled the configuration. Until all processes have, none gets
more of a site than it has.

A process that does not settle would hold up all others as long as its session lives: it cannot read
the configuration, or write what it uses. Only that process knows what it uses, so nobody else may
decide that it counts no more. It ends by itself when others have waited for it for a minute. Its
drain closes its connections and gives back its lanes before its session ends, so limits stay exact.
When it starts again it uses nothing, and takes no mail before it has read a configuration.

While it cannot hear the others, it does not know whether they wait, and could not tell them that it
has settled. So that time does not count, and the minute begins anew.
"""

import asyncio
from datetime import timedelta

from postroad.spool.agreement import SiteRecords
from postroad.spool.errors import SpoolError
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

LONGEST_WAIT = timedelta(minutes=1)  # usually it takes less than a second
_LOOK = 1.0  # seconds


class SettledConfiguration:
    """Keeps what must be written before the configuration is settled, and tells when it is."""

    def __init__(self, records: SiteRecords) -> None:
        self._records = records
        self._generation = 0  # in force here
        self._told = -1
        self._hurry = False  # whether others may wait to be told
        self._unwritten: set[str] = set()  # sites
        self._changed = asyncio.Event()
        self._late: tuple[int, float] | None = (
            None  # settled last, and since when that is not enough
        )

    def heed(self, generation: int, *, hurry: bool) -> None:
        """Note the configuration in force. With `hurry`, others may be waiting for this process."""
        self._generation = generation
        self._hurry = self._hurry or hurry
        self._changed.set()

    def covers(self, generation: int) -> bool:
        """Whether the others know that this process has settled a configuration."""
        return self._told >= generation

    def owes(self, site: str) -> bool:
        """Whether what is used of a site has still to be written."""
        return site in self._unwritten

    def owe(self, site: str) -> None:
        """Note that what is used of a site must be written before anything is settled."""
        self._unwritten.add(site)

    def wrote(self, site: str) -> None:
        """Note that it is written."""
        if site in self._unwritten:
            self._unwritten.discard(site)
            self._changed.set()

    async def changed(self) -> None:
        """Wait until there may be something to tell."""
        await self._changed.wait()
        self._changed.clear()

    async def tell(self) -> None:
        """Tell the others, if there is something to tell. Raises SpoolUnavailable."""
        if self._told == self._generation or self._unwritten:
            return
        generation, hurry = self._generation, self._hurry
        self._hurry = False
        try:
            await self._records.settle(generation, now=hurry)
        except SpoolError:
            self._hurry = True
            raise
        self._told = generation

    async def overdue(self) -> None:
        """Wait until others have waited too long for this process; then it must end."""
        clock = asyncio.get_running_loop().time
        while not self.is_overdue(clock()):  # noqa: ASYNC110 - the sessions of others are read
            await asyncio.sleep(_LOOK)
        log.error(
            "other processes wait until this one has settled the configuration; it ends",
            generation=self._generation,
            seconds=LONGEST_WAIT.total_seconds(),
            count=len(self._unwritten),
        )

    def is_overdue(self, now: float) -> bool:
        """Whether others have waited too long for this process to settle a configuration."""
        awaited = max((info.awaits for info in self._records.others), default=0)
        if not (self._records.hears_others and 0 <= self._told < awaited):
            self._late = None
            return False
        if self._late is None or self._late[0] != self._told:
            self._late = self._told, now
        return now - self._late[1] >= LONGEST_WAIT.total_seconds()
