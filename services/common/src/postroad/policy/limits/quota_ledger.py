"""
The quota slices that one process has leased, and what it has spent of them.

Limits are exact without a write per message. A process leases a slice of what the cluster has left
in a window, spends it locally, and gives back the unspent rest. The sum of all slices never exceeds
the limit, so neither does the mail.

This module has no I/O and no clock. The caller leases what `try_spend` needs, reports the answer,
and calls it again. The loop in ingress ends, because each answer brings a grant or a refusal:

    while isinstance(outcome := ledger.try_spend(wanted, now), Needs):
        for lease in outcome.leases:
            granted = await usage.lease(lease.key, amount=lease.amount,
                                        maximum=lease.maximum, since=lease.since,
                                        expires=lease.expires, needed=lease.shortfall)
            ledger.granted(lease, granted, now)  # or ledger.failed(lease) without an answer

A refused amount may become available while other processes hold slices that they may give back. A
count is certainly used up only when nobody has leased a new slice for SETTLED.

A message takes from all its quotas or from none. `refund` gives back what a message took that was
not accepted in the end.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from postroad.policy.limits.quota import QuotaDemand

IDLE = timedelta(seconds=5)  # a slice that is not spent for so long is given back
# So long after the last slice was leased, all of it is spent or given back: IDLE, a second until
# `idle` is called, and the rest for differing clocks and a slow queue.
SETTLED = timedelta(seconds=12)
RATE_MEMORY = timedelta(seconds=5)  # the time over which the recent rate is averaged
SLICE_TIME = timedelta(seconds=1)  # at the recent rate, a slice lasts so long
REFUSAL_MEMORY = timedelta(seconds=1)  # a refused amount is not requested again sooner
# A slice is leased only if this many of its size are left. Near the limit each message leases only
# what it needs, so that no process holds what another could send.
_ROOM_IN_SLICES = 8
_LEAST_SHARE = 16  # a slice is never more than this fraction of the maximum


@dataclass(frozen=True, slots=True)
class Lease:
    """A slice to lease: `amount` under `key`, if the total then stays within `maximum`."""

    key: str
    amount: int
    maximum: int
    since: datetime
    expires: datetime
    shortfall: int  # what must be granted for the current message
    last_resort: bool  # a smaller amount is of no use


@dataclass(frozen=True, slots=True)
class Spent:
    """The message is within its quotas; `demands` are what it took, for `refund`."""

    demands: tuple[QuotaDemand, ...]


@dataclass(frozen=True, slots=True)
class Needs:
    """Nothing was taken: make these leases first, then call `try_spend` again."""

    leases: tuple[Lease, ...]


@dataclass(frozen=True, slots=True)
class Exceeded:
    """
    Nothing was taken: the limit of `demand` refuses the message.

    `certain` is True if nothing will be available in this window, False if other processes may
    still give something back, and None if the caller has to find out.
    """

    demand: QuotaDemand
    certain: bool | None = None


@dataclass(frozen=True, slots=True)
class GiveBack:
    """
    An amount that was leased and not spent, to be given back once.

    Do not retry if it is unknown whether it was given back: twice would exceed the limit.
    """

    key: str
    amount: int
    since: datetime


@dataclass(slots=True)
class _Account:
    """This process's view of one count."""

    since: datetime
    window_end: datetime
    touched: datetime  # when it was created or last spent from
    granted: datetime  # when it was created or last grew
    maximum: int  # the Quota's current limit
    balance: int = 0
    surplus: int = 0  # leased while the maximum was larger: to be given back, not spent
    asked: int = 0  # in leases that are not answered yet
    rate: float = 0.0  # units per second, averaged over RATE_MEMORY
    largest_slice: float = math.inf  # shrinks as the limit comes near
    refused_until: datetime | None = None
    refused: int = 0  # the refused amount; a smaller one may still be granted
    exhausted: bool | None = None  # `Exceeded.certain`, until refused_until

    def limit(self, maximum: int) -> None:
        """Apply the Quota's maximum; a balance leased under a larger one becomes surplus."""
        if maximum < self.maximum:
            self.surplus += self.balance
            self.balance = 0
        self.maximum = maximum

    def add(self, amount: int, maximum: int) -> None:
        """Add an amount that was leased, or refunded, under a maximum."""
        if maximum > self.maximum:
            self.surplus += amount
        else:
            self.balance += amount

    def spend(self, amount: int, now: datetime) -> None:
        self.balance -= amount
        self.rate = self.rate_at(now) + amount / RATE_MEMORY.total_seconds()
        self.touched = now

    def refuses(self, shortfall: int, now: datetime) -> bool:
        """Whether this amount, or a smaller one, was refused within REFUSAL_MEMORY."""
        until = self.refused_until
        return until is not None and now < until and shortfall >= self.refused

    def rate_at(self, now: datetime) -> float:
        """Return the recent rate, an average that decays exponentially."""
        past = max((now - self.touched).total_seconds(), 0.0)
        return self.rate * math.exp(-past / RATE_MEMORY.total_seconds())

    def unspent(self, now: datetime) -> int:
        """Return how much of the balance will not be needed, by the recent rate."""
        if now - self.touched >= IDLE or now - self.granted >= IDLE:
            return self.balance
        if now - self.granted < SLICE_TIME:
            return 0  # leased for a message that will take it in a moment
        return max(0, self.balance - math.ceil(self.rate_at(now) * IDLE.total_seconds()))

    def slice_for(self, shortfall: int, maximum: int) -> int:
        """Return how much to lease when `shortfall` is needed at once."""
        wanted = math.ceil(self.rate * SLICE_TIME.total_seconds()) - self.asked
        return max(shortfall, int(min(wanted, self.largest_slice, maximum // _LEAST_SHARE)))


class Ledger:
    """All leased slices of this process. Time must not run backwards."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def try_spend(self, demands: Sequence[QuotaDemand], now: datetime) -> Spent | Needs | Exceeded:
        """Take all demands, or take nothing and return what is missing."""
        leases = []
        for demand in demands:
            account = self._account(demand, now)
            account.limit(demand.maximum)
            shortfall = demand.amount - account.balance
            if shortfall <= 0:
                continue
            if demand.amount > demand.maximum:
                return Exceeded(demand, certain=True)
            if account.refuses(shortfall, now):
                return Exceeded(demand, account.exhausted)
            leases.append(_lease(demand, account, shortfall))
        if leases:
            # Only here: if a later demand is exceeded, none of the leases is made.
            for lease in leases:
                self._accounts[lease.key].asked += lease.amount
            return Needs(tuple(leases))
        for demand in demands:
            self._accounts[demand.key].spend(demand.amount, now)
        return Spent(tuple(demands))

    def granted(self, lease: Lease, amount: int, now: datetime) -> None:
        """Report how much of a lease was granted."""
        account = self._accounts.get(lease.key)
        if account is None:
            return  # its window is over
        account.asked = max(0, account.asked - lease.amount)
        account.add(amount, lease.maximum)
        if amount:
            account.granted = now
        if amount >= lease.shortfall:
            account.refused_until = None
        elif lease.last_resort:
            account.refused_until, account.refused = now + REFUSAL_MEMORY, lease.shortfall
            account.exhausted = None
        else:
            account.largest_slice = lease.amount // 4

    def learned(self, demand: QuotaDemand, *, exhausted: bool) -> None:
        """Report whether a count that refused is certainly used up."""
        account = self._accounts.get(demand.key)
        if account is not None:
            account.exhausted = exhausted

    def failed(self, lease: Lease) -> None:
        """Report that a lease failed or got no answer; what it may have taken is lost."""
        account = self._accounts.get(lease.key)
        if account is not None:
            account.asked = max(0, account.asked - lease.amount)

    def unused(self, lease: Lease) -> GiveBack | None:
        """
        Take back an amount leased for one message alone, which another of its quotas refused.

        None when the lease was a slice, which other messages can use, or when it is spent.
        """
        account = self._accounts.get(lease.key)
        if account is None or not lease.last_resort:
            return None
        amount = min(lease.amount, account.balance)
        account.balance -= amount
        return GiveBack(lease.key, amount, lease.since) if amount else None

    def refund(self, spent: Spent, now: datetime) -> None:
        """Give back to the balances what a message took that was not accepted."""
        for demand in spent.demands:
            account = self._account(demand, now)
            account.add(demand.amount, demand.maximum)
            account.granted = now

    def idle(self, now: datetime) -> list[GiveBack]:
        """
        Take out the unspent amounts, to be given back, and forget windows that are over.

        The whole balance is given back if nothing was spent, or leased, for 5 s; otherwise the part
        that would last longer than 5 s at the recent rate. Call it about once a second.
        """
        back = []
        for key, account in list(self._accounts.items()):
            over = now >= account.window_end
            if account.asked and not over:
                continue
            unspent = 0 if over else account.unspent(now)
            if not over and unspent + account.surplus > 0:
                account.balance -= unspent
                back.append(GiveBack(key, unspent + account.surplus, account.since))
                account.surplus = 0
            if over or now - account.touched >= IDLE:
                del self._accounts[key]
        return back

    def close(self, now: datetime) -> list[GiveBack]:
        """Take out all unspent amounts, at shutdown."""
        back = [
            GiveBack(key, account.balance + account.surplus, account.since)
            for key, account in self._accounts.items()
            if account.balance + account.surplus > 0 and now < account.window_end
        ]
        self._accounts.clear()
        return back

    def _account(self, demand: QuotaDemand, now: datetime) -> _Account:
        account = self._accounts.get(demand.key)
        if account is None:
            account = _Account(demand.since, demand.window_end, now, now, demand.maximum)
            self._accounts[demand.key] = account
        return account


def _lease(demand: QuotaDemand, account: _Account, shortfall: int) -> Lease:
    amount = account.slice_for(shortfall, demand.maximum)
    last_resort = amount == shortfall
    # A slice larger than the shortfall must leave room for other processes' slices.
    room = 0 if last_resort else amount * _ROOM_IN_SLICES
    maximum = max(0, demand.maximum - room)
    times = demand.since, demand.expires
    return Lease(demand.key, amount, maximum, *times, shortfall, last_resort)
