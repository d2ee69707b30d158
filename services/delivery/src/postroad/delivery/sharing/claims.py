"""
Shares a site's connections with processes of other pools, by claims (`policy.limits.portions`).

This is needed only if Relays of several pools deliver by MX, or did before the last edit, and only
for sites with mail. The first connection waits for a claim, and the others' claims are read twice a
second. Connections are given up before the record is written, and gained ones used only after it.

An edit may make pools share sites that are in use. Each process first writes what it uses, then
tells that it has settled the configuration. Until all have, none gets more than it has. If an edit
leaves a site to one pool, its process uses claims until all have settled and no other has one.
"""

import asyncio
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from enum import Enum, auto

from postroad.delivery.sharing.others import Laggards
from postroad.delivery.sharing.settled import SettledConfiguration
from postroad.delivery.sharing.share import SiteShare
from postroad.delivery.sharing.windows import Windows
from postroad.delivery.sites.pool import SessionPool
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.total import SiteTotal
from postroad.policy.limits.portions import (
    Claim,
    SiteDemand,
    SitePortion,
    decode,
    encode,
    portioned,
    without,
)
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.agreement import SiteKind, SiteRecords, SiteView
from postroad.spool.errors import SpoolError
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_TICK = 0.5  # seconds
IDLE = 5.0  # seconds without mail, after which a claim is given up
_LIFETIME = timedelta(minutes=30)
_RENEWED = 600.0  # seconds


class _Step(Enum):
    """How this process changes the record of a site."""

    WRITE = auto()  # what was used before the site was shared
    CLAIM = auto()
    LEAVE = auto()


class Sharing:
    """All sites that a process shares. `resume` continues with a site's mail."""

    def __init__(
        self,
        records: SiteRecords,
        windows: Windows,
        pool: SessionPool,
        tasks: BackgroundTasks,
        resume: Callable[[SiteTotal[Site]], None],
    ) -> None:
        self._records = records
        self._windows = windows
        self._pool = pool
        self._tasks = tasks
        self._resume = resume
        self._shares: dict[str, SiteShare] = {}
        self._losses = records.losses
        self._laggards = Laggards(records)
        self.settled = SettledConfiguration(records)

    def heed(self, generation: int, totals: Iterable[SiteTotal[Site]], *, changes: bool) -> None:
        """Note the configuration in force. `totals` may have been in use unshared until now."""
        now = asyncio.get_running_loop().time()
        for known in self._shares.values():  # after a restore, generations may begin anew
            known.total.since = min(known.total.since, generation)
        for total in totals:
            share = self._shares.get(total.claimed_as)
            if share is not None and share.total is total:
                continue
            if total.is_shared and self._is_begun(total, now):
                share = self._share_of(total)
                share.holds = self._in_use(total)
                share.used = now
                self.settled.owe(share.record)
                self._adjust_soon(share)
        self.settled.heed(generation, hurry=changes)

    def _is_begun(self, total: SiteTotal[Site], now: float) -> bool:
        return bool(self._in_use(total)) or total.limiter.remembers(now)

    def _in_use(self, total: SiteTotal[Site]) -> int:
        return total.limiter.connections + self._pool.count(total.claimed_as)

    def ask(self, total: SiteTotal[Site]) -> None:
        """Claim a portion of a shared site that has mail and no connection left."""
        if not total.is_shared:
            return
        share = self._share_of(total)
        share.used = asyncio.get_running_loop().time()
        if not share.claims:
            self._adjust_soon(share)

    def _share_of(self, total: SiteTotal[Site]) -> SiteShare:
        share = self._shares.setdefault(total.claimed_as, SiteShare(total, total.claimed_as))
        share.total = total  # it may have been forgotten and created again
        return share

    async def run(self) -> None:
        """Follow the claims of others and our own demand, until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.settled.changed(), _TICK)
            try:
                await self.settled.tell()
                if self._shares:
                    await self._hear()
            except SpoolError as error:
                log.debug("the claims of others cannot be read", error=str(error))
            now = asyncio.get_running_loop().time()
            shared = (each.total.since for each in self._shares.values() if each.total.is_shared)
            self._laggards.look(max(shared, default=0), now)
            for share in list(self._shares.values()):
                if self._is_used(share):
                    share.used = now
                if self._has_surplus(share) or self._due(share, now):
                    self._adjust_soon(share)

    async def _hear(self) -> None:
        for record in await self._records.news(SiteKind.CONNECTIONS):
            name, claims = decode(record)
            share = self._shares.get(name)
            if share is not None and share.asking:
                share.asked = -math.inf  # the claim that is under way may have read an older record
            elif share is not None:
                share.claims = claims
        if self._losses != self._records.losses:  # records were lost: write our claims again
            self._losses = self._records.losses
            for share in self._shares.values():
                share.claims = ()

    def _due(self, share: SiteShare, now: float) -> _Step | None:
        """Return how the record must be changed, None if it is up to date."""
        if share.is_former:
            return _Step.LEAVE
        if self.settled.owes(share.record):
            return _Step.WRITE
        if now - share.used >= IDLE and not self._is_used(share):
            return _Step.LEAVE
        return _Step.CLAIM if self._is_outdated(share, now) else None

    def _has_surplus(self, share: SiteShare) -> bool:
        """Whether there are more idle sessions than allowed."""
        return self._pool.count(share.total.claimed_as) > share.total.limiter.idle_room

    def _is_outdated(self, share: SiteShare, now: float) -> bool:
        """Whether the record differs from what it should be."""
        own = self._records.owner
        claims = tuple(c for c in share.claims if c.owner == own or self._records.lives(c.owner))
        portion = portioned(claims, self._demand(share))
        limits = share.total.limiter.limits
        return (
            portion.claims != share.claims
            or portion.connections != limits.connections
            or portion.limits.message_rate != limits.message_rate
            or now - share.asked >= _RENEWED
            or self._may_be_alone(share, claims, now)
        )

    def _may_be_alone(self, share: SiteShare, claims: Iterable[Claim], now: float) -> bool:
        return self._is_alone(share.total, claims) and self._is_over(share, now)

    def _others(self, claims: Iterable[Claim]) -> list[Claim]:
        return [claim for claim in claims if claim.owner != self._records.owner]

    def _is_over(self, share: SiteShare, now: float) -> bool:
        """Whether nothing counts any more of what others did before this process was alone."""
        rate = share.total.own.message_rate
        if share.alone_since is None or rate is None:
            return True
        return now - share.alone_since >= rate.window.total_seconds()

    def _is_used(self, share: SiteShare) -> bool:
        total = share.total  # a smarthost that is back has connections in use without mail here
        return total.is_shared and bool(total.sends or self._in_use(total))

    def _demand(self, share: SiteShare) -> SiteDemand:
        total = share.total
        return SiteDemand(
            self._records.owner,
            total.own,
            busy=total.limiter.connections,
            wants=total.has_line and not total.limiter.has_slot,
            held=share.holds,
            idle=self._pool.count(total.claimed_as),
            outdated=total.outdated,
        )

    # ------------------------------------------------------------ changing the record

    def _adjust_soon(self, share: SiteShare) -> None:
        if not share.asking:
            share.asking = True
            self._tasks.spawn(self._adjust(share))

    async def _adjust(self, share: SiteShare) -> None:
        total = share.total
        try:
            # Others wait for what is owed, and quitting takes time.
            if not self.settled.owes(share.record):
                idle = self._pool.surplus(total.claimed_as, total.limiter.idle_room)
                await asyncio.gather(*(session.quit() for session in idle))
            now = asyncio.get_running_loop().time()
            step = self._due(share, now)  # again, since idle sessions were closed meanwhile
            if step is _Step.LEAVE:
                await self._leave(share)
            elif step is not None:
                share.asked = now
                if step is _Step.WRITE:
                    await self._windows.note(total)
                await self._claim(share)
                if share.total is total:
                    self.settled.wrote(share.record)
        except SpoolError as error:
            log.debug("a portion cannot be claimed", site=total.name, error=str(error))
        finally:
            share.asking = False

    async def _claim(self, share: SiteShare) -> None:
        outcome: list[tuple[SiteTotal[Site], SitePortion]] = []

        def decide(view: SiteView) -> bytes:
            total = share.total
            claims = [c for c in decode(view.record)[1] if c.owner in view.live]
            certain = view.certain and view.settled >= total.since
            alone = certain and self._is_alone(total, claims)
            share.alone_since = (share.alone_since or share.asked) if alone else None
            portion = portioned(claims, self._demand(share), certain=certain)
            if total.is_shared and portion.connections < total.limiter.limits.connections:
                total.lease(portion.connections, total.limiter.limits.message_rate)
            outcome.append((total, portion))
            return encode(share.record, portion.claims)

        await self._change(share.record, decide)
        total, portion = outcome[-1]
        share.claims = portion.claims
        if share.is_former or share.total is not total:
            return  # an edit came in between
        if share.alone_since is not None and self._is_over(share, share.asked):
            await self._go_on_alone(share)
            return
        share.holds = next(c.holds for c in portion.claims if c.owner == self._records.owner)
        if total.is_shared:
            total.lease(portion.connections, portion.limits.message_rate)
        self._resume(total)

    def _is_alone(self, total: SiteTotal[Site], claims: Iterable[Claim]) -> bool:
        """
        Whether only this process sends to the site, provided that the others have settled.

        The last claim may also be that of a process of the former pool. It has no mail that waits.
        """
        settled = self.settled.covers(total.since)
        return total.ends and total.has_line and settled and not self._others(claims)

    async def _go_on_alone(self, share: SiteShare) -> None:
        """Stop using claims. After an edit in between, what is used is written again instead."""
        total, since = share.total, share.total.since
        self.settled.owe(share.record)
        await self._withdraw(share.record)
        if total.ends and total.since == since:
            del self._shares[share.record]
            total.unshare()
            self.settled.wrote(share.record)
            self._windows.look_again()
            self._resume(total)
        else:
            await self._windows.note(total)
            await self._claim(share)

    async def _leave(self, share: SiteShare) -> None:
        """Give up the portion of a site; what is used by an edit in between is written again."""
        total = share.total
        if total.is_shared and not share.is_former:
            total.lease(0, total.limiter.limits.message_rate)
        self.settled.owe(share.record)  # nothing is settled while the claim may be gone already
        await self._withdraw(share.record)
        share.claims, share.holds = (), 0
        if share.total is total and (share.is_former or not self._is_used(share)):
            del self._shares[share.record]
        else:
            total = share.total
            share.holds = self._in_use(total)
            await self._windows.note(total)
            await self._claim(share)
        if share.total is total:
            self.settled.wrote(share.record)

    async def _withdraw(self, name: str) -> None:
        """Take this process's claim out of the record."""

        def decide(view: SiteView) -> bytes:
            return encode(name, without(decode(view.record)[1], self._records.owner))

        await self._change(name, decide)

    async def _change(self, name: str, decide: Callable[[SiteView], bytes]) -> None:
        await self._records.change(SiteKind.CONNECTIONS, name, decide, lifetime=_LIFETIME)
