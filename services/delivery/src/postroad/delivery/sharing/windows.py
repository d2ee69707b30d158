"""
Leases slices of message rates (`policy.limits.slices`) for the sites of this process.

The rate of each egress path at a site has a record, so that the next owner of its lane continues
the window, even after a crash. The common rate of all egress paths at MX hosts has a record of its
own, named by the site alone: the next owner may have mail of other egress paths, or one may have
got another name. While several pools send to a site, they lease their common rate from a record in
memory instead, and copy to disk what they get. So the window goes on when one pool is left, when
others join it, and after a restart of everything.

With full storage nothing can be written on disk. A process that is alone then continues by its own
count, because outgoing mail makes room.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from postroad.delivery import metrics
from postroad.delivery.sites.limits import SiteLimiter
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.total import SiteTotal
from postroad.policy.limits.slices import (
    Leased,
    Record,
    Slice,
    completed,
    decode,
    encode,
    lease,
    lifetime_of,
    noted,
)
from postroad.policy.model import Rate
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.agreement import SiteKind, SiteRecords, SiteView
from postroad.spool.errors import SpoolError, SpoolFull
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_AGAIN = 1.0  # seconds until a failed lease is tried again
_SHORTEST_WAIT = 0.01


@dataclass(frozen=True, slots=True)
class _Window:
    """The rate window of an egress path at a site; of all together if `relay` is empty."""

    total: SiteTotal[Site]
    limiter: SiteLimiter
    relay: str = ""

    @property
    def kind(self) -> SiteKind:
        """The kind of its record now."""
        in_memory = self.total.is_shared and not self.relay
        return SiteKind.MESSAGES if in_memory else SiteKind.WINDOW

    @property
    def name(self) -> str:
        """The name of its record."""
        return f"{self.total.name} {self.relay}" if self.relay else self.total.name


class Windows:
    """All rate windows of a process. `resume` continues with a site's mail."""

    def __init__(
        self,
        records: SiteRecords,
        tasks: BackgroundTasks,
        resume: Callable[[SiteTotal[Site]], None],
    ) -> None:
        self._records = records
        self._tasks = tasks
        self._resume = resume
        self._asking: set[SiteLimiter] = set()
        self._look_again = asyncio.Event()

    def ask(self, site: Site) -> None:
        """Lease the slices that a site's waiting mail needs, then continue with it."""
        for window in (
            _Window(site.total, site.limiter, site.relay),
            _Window(site.total, site.total.limiter),
        ):
            now = asyncio.get_running_loop().time()
            if window.limiter.needs_slice(now) and window.limiter not in self._asking:
                self._asking.add(window.limiter)
                self._tasks.spawn(self._lease(window))

    async def note(self, total: SiteTotal[Site]) -> None:
        """Write down what was begun at a site while it was not shared. Raises SpoolUnavailable."""
        rate = total.own.message_rate
        if rate is None:
            return
        await self._copy(total, rate)

        def decide(view: SiteView) -> bytes:
            record = completed(decode(view.record), total.former or ())
            return encode(self._noted(record, total, rate))

        lifetime = lifetime_of(rate)
        await self._records.change(SiteKind.MESSAGES, total.name, decide, lifetime=lifetime)

    async def _copy(self, total: SiteTotal[Site], rate: Rate, *granted: Slice) -> None:
        """Write to disk what may begin at a shared site, and read there what others have begun."""
        if not total.by_mx:
            return  # all its messages are in the window of the only egress path

        def decide(view: SiteView) -> bytes:
            record, owner = decode(view.record), self._records.owner
            total.former = tuple(each for each in record.slices if each.owner != owner)
            after = self._noted(record, total, rate, *granted)
            return encode(after) if after != record else view.record

        with suppress(SpoolFull):
            lifetime = lifetime_of(rate)
            await self._records.change(SiteKind.WINDOW, total.name, decide, lifetime=lifetime)

    def _noted(self, record: Record, total: SiteTotal[Site], rate: Rate, *granted: Slice) -> Record:
        starts, owner = _starts(total.limiter), self._records.owner
        return noted(record, rate, owner, starts, datetime.now(UTC), granted)

    def look_again(self) -> None:
        """Check waits again, because a limit may have changed."""
        self._look_again.set()
        self._look_again = asyncio.Event()

    async def _lease(self, window: _Window) -> None:
        try:
            wait = await self._try(window)
            while wait and window.total.has_line:
                await self._wait(window, wait)
                wait = await self._try(window)
        finally:
            self._asking.discard(window.limiter)
        self._resume(window.total)

    async def _wait(self, window: _Window, seconds: float) -> None:
        rate, kind = window.limiter.limits.message_rate, window.kind
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (
                    window.total.has_line
                    and window.limiter.limits.message_rate == rate
                    and window.kind is kind
                ):
                    await self._look_again.wait()

    async def _try(self, window: _Window) -> float:
        """Lease a slice; return the seconds to wait if there is none, else 0."""
        limiter, kind = window.limiter, window.kind
        rate = limiter.limits.message_rate
        if rate is None:
            return 0.0
        try:
            if kind is SiteKind.MESSAGES:
                leased = await self._lease_together(window, rate)
            else:
                leased = await self._change(window, kind, rate)
        except SpoolError as error:
            log.debug("no slice could be leased", site=window.total.name, error=str(error))
            if kind is not SiteKind.WINDOW or not isinstance(error, SpoolFull):
                return _AGAIN
            leased = lease(Record(), rate, self._records.owner, (), datetime.now(UTC))
        except Exception:  # otherwise the mail that waits would be forgotten
            metrics.INTERNAL_ERRORS.inc()
            log.exception("no slice could be leased", site=window.total.name)
            return _AGAIN
        seconds = (leased.until - datetime.now(UTC)).total_seconds()
        if window.kind is not kind:
            return _SHORTEST_WAIT
        until = asyncio.get_running_loop().time() + seconds
        if not leased.count:
            limiter.refuse_until(until)
            return max(seconds, _SHORTEST_WAIT)
        limiter.lease(leased.count, until)
        return 0.0

    async def _lease_together(self, window: _Window, rate: Rate) -> Leased:
        """
        Lease from the record in memory; what is granted is on disk before it is used.

        After the memory was lost, the disk is read before each try until one succeeds. By then it
        has what others were granted before the loss: nothing is granted for the life of a session
        after a loss, and what was granted is on disk or unusable sooner.
        """
        total, losses = window.total, self._records.losses
        if total.former is None or total.former_losses != losses:
            await self._copy(total, rate)
        leased = await self._change(window, SiteKind.MESSAGES, rate)
        if leased.count:
            total.former_losses = losses
            await self._copy(total, rate, Slice(self._records.owner, leased.count, leased.until))
        return leased

    async def _change(self, window: _Window, kind: SiteKind, rate: Rate) -> Leased:
        outcome: list[Leased] = []

        def decide(view: SiteView) -> bytes:
            record, owner, starts = (
                decode(view.record),
                self._records.owner,
                _starts(window.limiter),
            )
            if kind is SiteKind.MESSAGES:
                record = completed(record, window.total.former or ())
            now = datetime.now(UTC)
            certain = view.certain and view.settled >= window.total.since
            outcome.append(lease(record, rate, owner, starts, now, certain=certain))
            return encode(outcome[-1].record)

        lifetime = lifetime_of(rate)
        await self._records.change(kind, window.name, decide, lifetime=lifetime)
        return outcome[-1]


def _starts(limiter: SiteLimiter) -> list[datetime]:
    now, at = datetime.now(UTC), asyncio.get_running_loop().time()
    return [now - timedelta(seconds=at - start) for start in limiter.starts]
