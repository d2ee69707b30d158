"""
Spends from quotas: the ledger decides, and the queue has the counts that all processes share.

A message takes from all its quotas or from none. The exception are exceeded Quotas that hold mail:
the message takes nothing from these, is accepted and held, and counts for all other Quotas. While
the counts cannot be reached, the message is deferred, because a limit must hold at all times.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from postroad.policy.limits.quota import QuotaDemand, Sending, demands
from postroad.policy.limits.quota_index import QuotaIndex
from postroad.policy.limits.quota_ledger import (
    SETTLED,
    Exceeded,
    GiveBack,
    Lease,
    Ledger,
    Needs,
    Spent,
)
from postroad.policy.model import ObjectKey, OnExceeded, Quota
from postroad.policy.snapshot import Snapshot
from postroad.spool.agreement import QuotaCounters
from postroad.spool.errors import SpoolError
from postroad.telemetry.logs import get_logger

_INTERVAL = 1.0  # seconds between looks at what lies unspent

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Allowed:
    """The message may be accepted; `spent` is what it took. `holds`: some Quota wants it held."""

    spent: Spent
    holds: bool = False


_FREE = Allowed(Spent(()))


class Quotas:
    """What this process may spend of every quota."""

    def __init__(self, usage: QuotaCounters) -> None:
        self._usage = usage
        self._ledger = Ledger()
        self._indexed: Mapping[ObjectKey, Quota] = {}
        self._index = QuotaIndex(())

    async def take(self, snapshot: Snapshot, sending: Sending) -> Allowed | Exceeded:
        """Take what a message needs; raises SpoolUnavailable when the counts are out of reach."""
        if not snapshot.quotas:
            return _FREE
        if snapshot.quotas is not self._indexed:
            self._indexed, self._index = snapshot.quotas, QuotaIndex(snapshot.quotas.values())
        wanted = demands(self._index.of(sending), sending, datetime.now(UTC))
        if not wanted:
            return _FREE
        leased: list[Lease] = []
        outcome = await self._take(wanted, leased)
        if leased:
            taken = outcome.spent.demands if isinstance(outcome, Allowed) else ()
            await self._return_unused(leased, {demand.key for demand in taken})
        return outcome

    async def _take(self, wanted: Sequence[QuotaDemand], leased: list[Lease]) -> Allowed | Exceeded:
        """Take from all quotas but those that hold the message; `leased` grows by what is had."""
        holds = False
        while True:
            outcome = self._ledger.try_spend(wanted, datetime.now(UTC))
            if isinstance(outcome, Spent):
                return Allowed(outcome, holds)
            if isinstance(outcome, Needs):
                await self._lease(outcome, leased, alone=len(wanted) == 1)
                continue
            exceeded = await self._looked_into(outcome)
            quota = exceeded.demand.quota
            if quota.on_exceeded is not OnExceeded.HOLD or not exceeded.certain:
                return exceeded
            holds = True
            wanted = [demand for demand in wanted if demand.quota.key != quota.key]

    async def _lease(self, needs: Needs, leased: list[Lease], *, alone: bool) -> None:
        """Lease what is missing until one lease is refused: the rest is of no use without it."""
        for position, lease in enumerate(needs.leases):
            try:
                granted = await self._usage.lease(
                    lease.key,
                    amount=lease.amount,
                    maximum=lease.maximum,
                    since=lease.since,
                    expires=lease.expires,
                    needed=lease.shortfall,
                    # Another quota may refuse the message, and this grant comes back.
                    final=lease.last_resort and alone,
                )
            except BaseException:
                self._failed(needs.leases[position:])
                raise
            self._ledger.granted(lease, granted, datetime.now(UTC))
            if granted < lease.shortfall:
                self._failed(needs.leases[position + 1 :])
                return
            leased.append(lease)

    def _failed(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            self._ledger.failed(lease)

    async def _return_unused(self, leased: Iterable[Lease], taken: set[str]) -> None:
        """Give back what the message needed alone and did not take: others wait for it."""
        for lease in leased:
            if lease.key not in taken and (back := self._ledger.unused(lease)):
                await self._give_back(back)

    async def _looked_into(self, exceeded: Exceeded) -> Exceeded:
        """Say of what was refused whether that is certain, where it makes a difference."""
        demand = exceeded.demand
        if exceeded.certain is not None or demand.quota.on_exceeded is OnExceeded.DEFER:
            return exceeded
        exhausted = await self._usage.spent(
            demand.key,
            amount=demand.amount,
            maximum=demand.maximum,
            since=demand.since,
            quiet=SETTLED,
        )
        self._ledger.learned(demand, exhausted=exhausted)
        return replace(exceeded, certain=exhausted)

    def refund(self, spent: Spent) -> None:
        """Put back what a message took that was not accepted."""
        if spent.demands:
            self._ledger.refund(spent, datetime.now(UTC))

    async def run(self) -> None:
        """Give back what lies unspent, until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            for back in self._ledger.idle(datetime.now(UTC)):
                await self._give_back(back)

    async def close(self) -> None:
        """Give everything back."""
        for back in self._ledger.close(datetime.now(UTC)):
            await self._give_back(back)

    async def _give_back(self, back: GiveBack) -> None:
        try:
            await self._usage.give_back(back.key, back.amount, since=back.since)
        except SpoolError as error:
            # In doubt it is not given back twice: the window wastes it, and no limit is exceeded.
            log.warning("a slice of a quota could not be given back", error=str(error))
