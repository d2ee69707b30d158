"""A claim that is being given up as an edit needs it: what is used is written before all else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from postroad.delivery import metrics
from postroad.delivery.sharing.claims import Sharing
from postroad.delivery.sharing.windows import Windows
from postroad.delivery.sites.pool import SessionPool
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.total import SiteTotal
from postroad.policy.limits.portions import decode
from postroad.policy.model import SiteLimits
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.agreement import SiteKind, SiteRecords, SiteView
from postroad.spool.memory.spool import MemorySpool
from postroad.testing.patience import patient

FORMER, OTHER = "relay:a/b former.test", "relay:a/b other.test"


class Slow:
    """The records of sites, with a server that is slow to change one, and what others may read."""

    def __init__(self, spool: MemorySpool) -> None:
        self._records = spool.site_records
        self.waits_for: str | None = None  # the record whose next change is held up
        self.waiting, self.goes_on = asyncio.Event(), asyncio.Event()
        self.told: dict[int, int] = {}  # by configuration: what was claimed as it was settled

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    async def change(
        self,
        kind: SiteKind,
        name: str,
        decide: Callable[[SiteView], bytes],
        *,
        lifetime: timedelta,
    ) -> None:
        if name == self.waits_for:
            self.waits_for = None
            self.waiting.set()
            await self.goes_on.wait()
        await self._records.change(kind, name, decide, lifetime=lifetime)

    async def settle(self, generation: int, *, now: bool) -> None:
        claims = [decode(record) for record in await self._records.news(SiteKind.CONNECTIONS)]
        held = (claim.holds for name, each in claims if name == FORMER for claim in each)
        self.told[generation] = sum(held)
        await self._records.settle(generation, now=now)

    async def until_told(self, generation: int) -> None:
        async with asyncio.timeout(patient(10)):
            while generation not in self.told:
                await asyncio.sleep(0.01)


def in_use(connections: int) -> SiteTotal[Site]:
    """Return the smarthosts of a Relay with connections in use."""
    limits = SiteLimits(connections=2)
    total: SiteTotal[Site] = SiteTotal(FORMER, by_mx=False, own=limits)
    total.limiter.connections = connections
    return total


@asynccontextmanager
async def sharing(records: SiteRecords) -> AsyncIterator[Sharing]:
    tasks = BackgroundTasks(metrics.INTERNAL_ERRORS)
    windows = Windows(records, tasks, lambda _: None)
    found = Sharing(records, windows, SessionPool(), tasks, lambda _: None)
    tasks.keep(found.run)
    yield found
    await tasks.cancel()


async def test_smarthosts_that_are_back_at_once_are_claimed_before_the_edit_is_settled() -> None:
    """A Relay is edited twice within a moment. Others may count on what is told as settled."""
    records = Slow(MemorySpool())
    total = in_use(2)
    async with sharing(records) as shared:
        total.share(1, ends=False)
        shared.heed(1, [total], changes=True)
        await records.until_told(1)
        assert records.told[1] == 2
        records.waits_for = FORMER
        total.claimed_as, total.since = OTHER, 2
        shared.heed(2, [total], changes=True)
        await asyncio.wait_for(records.waiting.wait(), patient(10))
        total.claimed_as, total.since = FORMER, 3
        shared.heed(3, [total], changes=True)
        records.goes_on.set()
        await records.until_told(3)
        assert records.told[3] == 2
