"""
Leasing what may be sent to sites with a message rate: the slices of `policy.slices`, with I/O.

Each way out's rate at a site has a record, so that the next owner of its lane, also after a crash,
goes on with the window as it is. Where several pools send to a site, their rate together has one.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from postroad.delivery.limits import SiteLimiter
from postroad.delivery.site import Site
from postroad.delivery.tasks import Tasks
from postroad.delivery.total import SiteTotal
from postroad.policy.model import Rate
from postroad.policy.slices import Leased, decode, encode, lease, lifetime_of
from postroad.runtime.logs import get_logger
from postroad.spool.agreement import SiteKind, SiteRecords, SiteView
from postroad.spool.errors import SpoolError

log = get_logger("delivery.windows")

_AGAIN = 1.0  # seconds until the records are asked again that did not answer
_SHORTEST_WAIT = 0.01


class Windows:
    """All windows of a process. `resume` goes on with a site's mail."""

    def __init__(
        self, records: SiteRecords, tasks: Tasks, resume: Callable[[SiteTotal[Site]], None]
    ) -> None:
        self._records = records
        self._tasks = tasks
        self._resume = resume
        self._asking: set[str] = set()

    def ask(self, site: Site) -> None:
        """Lease what the mail that waits at a site needs, and go on with it then."""
        self._ask(f"{site.name} {site.relay}", site.limiter, site.total)
        self._ask(site.name, site.total.limiter, site.total)

    def _ask(self, name: str, limiter: SiteLimiter, total: SiteTotal[Site]) -> None:
        now = asyncio.get_running_loop().time()
        if limiter.needs_slice(now) and name not in self._asking:
            self._asking.add(name)
            self._tasks.spawn(self._lease(name, limiter, total))

    async def _lease(self, name: str, limiter: SiteLimiter, total: SiteTotal[Site]) -> None:
        try:
            wait = await self._try(name, limiter, total)
            while wait and total.has_line:
                await asyncio.sleep(wait)
                wait = await self._try(name, limiter, total)
        finally:
            self._asking.discard(name)
        self._resume(total)

    async def _try(self, name: str, limiter: SiteLimiter, total: SiteTotal[Site]) -> float:
        """Lease a slice; return for how many seconds to wait if there is none, else 0."""
        rate = limiter.limits.message_rate
        if rate is None:
            return 0.0
        try:
            # Beside others nothing is sent that they might not know of.
            alone = limiter is not total.limiter
            leased = await self._change(name, limiter, rate, alone=alone)
        except SpoolError as error:
            log.debug("no slice could be leased", site=total.name, error=str(error))
            return _AGAIN
        seconds = (leased.until - datetime.now(UTC)).total_seconds()
        if not leased.count:
            return max(seconds, _SHORTEST_WAIT)
        limiter.lease(leased.count, asyncio.get_running_loop().time() + seconds)
        return 0.0

    async def _change(self, name: str, limiter: SiteLimiter, rate: Rate, *, alone: bool) -> Leased:
        outcome: list[Leased] = []

        def decide(view: SiteView) -> bytes:
            now, at = datetime.now(UTC), asyncio.get_running_loop().time()
            starts = [now - timedelta(seconds=at - start) for start in limiter.starts]
            record, owner = decode(view.record), self._records.owner
            certain = alone or view.certain
            outcome.append(lease(record, rate, owner, starts, now, certain=certain))
            return encode(outcome[-1].record)

        lifetime = lifetime_of(rate)
        await self._records.change(SiteKind.MESSAGES, name, decide, lifetime=lifetime)
        return outcome[-1]
