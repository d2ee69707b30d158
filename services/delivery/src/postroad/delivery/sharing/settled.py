"""
The last configuration that this process has settled, as its session tells the others.

An edit may make pools share sites that are in use. Each process first writes what it uses into the
records of these sites; then it has settled the configuration. Until all processes have, none gets
more of a site than it has.
"""

import asyncio

from postroad.spool.agreement import SiteRecords
from postroad.spool.errors import SpoolError


class SettledConfiguration:
    """Keeps what must be written before the configuration is settled, and tells when it is."""

    def __init__(self, records: SiteRecords) -> None:
        self._records = records
        self._generation = 0  # in force here
        self._told = -1
        self._hurry = False  # whether others may wait to be told
        self._unwritten: set[str] = set()  # sites
        self._changed = asyncio.Event()

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
