"""
Spending from quotas: the ledger's decisions, with the queue's shared counts behind them.

A message takes from all its quotas or from none. When the counts cannot be reached the message is
deferred: an upper bound that is only kept in good weather is none.
"""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from postroad.policy.limits.quota import Sending, demands
from postroad.policy.limits.quota_ledger import SETTLED, Exceeded, GiveBack, Ledger, Needs, Spent
from postroad.policy.model import OnExceeded, Snapshot
from postroad.spool.agreement import QuotaCounters
from postroad.spool.errors import SpoolError
from postroad.telemetry.logs import get_logger

_INTERVAL = 1.0  # seconds between looks at what lies unspent
_NOTHING = Spent(())

log = get_logger(__name__)


class Quotas:
    """What this process may spend of every quota."""

    def __init__(self, usage: QuotaCounters) -> None:
        self._usage = usage
        self._ledger = Ledger()

    async def take(self, snapshot: Snapshot, sending: Sending) -> Spent | Exceeded:
        """Take what a message needs; raises SpoolUnavailable when the counts are out of reach."""
        if not snapshot.quotas:
            return _NOTHING
        wanted = demands(snapshot.quotas.values(), sending, datetime.now(UTC))
        if not wanted:
            return _NOTHING
        while isinstance(outcome := self._ledger.try_spend(wanted, datetime.now(UTC)), Needs):
            for position, lease in enumerate(outcome.leases):
                try:
                    granted = await self._usage.lease(
                        lease.key,
                        amount=lease.amount,
                        maximum=lease.maximum,
                        expires=lease.expires,
                        needed=lease.shortfall,
                        # Another quota may refuse the message, and this grant comes back.
                        final=lease.last_resort and len(wanted) == 1,
                    )
                except BaseException:
                    for unanswered in outcome.leases[position:]:
                        self._ledger.failed(unanswered)
                    raise
                self._ledger.granted(lease, granted, datetime.now(UTC))
        return await self._looked_into(outcome) if isinstance(outcome, Exceeded) else outcome

    async def _looked_into(self, exceeded: Exceeded) -> Exceeded:
        """Say of what was refused whether that is certain, where it makes a difference."""
        demand = exceeded.demand
        if exceeded.certain is not None or demand.quota.on_exceeded is OnExceeded.DEFER:
            return exceeded
        exhausted = await self._usage.spent(
            demand.key, amount=demand.amount, maximum=demand.maximum, quiet=SETTLED
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
            await self._usage.give_back(back.key, back.amount)
        except SpoolError as error:
            # In doubt it is not given back twice: the window wastes it, and no limit is exceeded.
            log.warning("a slice of a quota could not be given back", error=str(error))
