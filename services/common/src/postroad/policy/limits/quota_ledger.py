"""
What one process may still spend of every quota: slices of allowance, leased and given back.

Exact upper bounds without a write per message: a process leases a slice of what is left of a
window for the whole cluster, spends it here, and gives back what lies unspent. The sum of all
slices never exceeds the limit, so neither does the mail.

No I/O and no clock: the caller leases what `try_spend` says is needed, tells the answer, and asks
again. The loop in ingress, bounded because each answer brings grants or the end:

    while isinstance(outcome := ledger.try_spend(wanted, now), Needs):
        for lease in outcome.leases:
            granted = await usage.lease(lease.key, amount=lease.amount,
                                        maximum=lease.maximum, expires=lease.expires,
                                        needed=lease.shortfall)
            ledger.granted(lease, granted, now)  # ledger.failed(lease) when it was not asked for

What is refused now may be had later, while others hold slices that they may give back: only after
SETTLED without a new slice is a count used up for certain.

A message takes from all its quotas or from none. `refund` puts back what a message took that was
not accepted after all.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from postroad.policy.limits.quota import QuotaDemand

IDLE = timedelta(seconds=5)  # unspent for so long, a slice goes back
# So long after the last slice all of it is spent or back: a second for the look, the rest for
# clocks that differ and a queue that is slow.
SETTLED = timedelta(seconds=12)
RATE_MEMORY = timedelta(seconds=5)  # how far back the recent rate looks
SLICE_TIME = timedelta(seconds=1)  # a slice lasts so long at the recent rate
REFUSAL_MEMORY = timedelta(seconds=1)  # an exhausted count is not asked for again sooner
# Slices are only for when this many more would fit: near the limit each message asks for itself,
# so that no process sits on what another could send.
_ROOM_IN_SLICES = 8
_LEAST_SHARE = 16  # a slice is never more than this fraction of the maximum


@dataclass(frozen=True, slots=True)
class Lease:
    """A slice to ask for: `amount` under `key`, while no more than `maximum` is taken in all."""

    key: str
    amount: int
    maximum: int
    expires: datetime
    shortfall: int  # what must be granted for the message at hand
    last_resort: bool  # nothing smaller can be asked for


@dataclass(frozen=True, slots=True)
class Spent:
    """The message may go; `demands` are what it took, for `refund`."""

    demands: tuple[QuotaDemand, ...]


@dataclass(frozen=True, slots=True)
class Needs:
    """Nothing was taken: lease these first, then ask again."""

    leases: tuple[Lease, ...]


@dataclass(frozen=True, slots=True)
class Exceeded:
    """
    Nothing was taken, and nothing is to be had: the Quota and limit of `demand` say no.

    `certain`: not in this window. False: others may give back; None: that is to be asked.
    """

    demand: QuotaDemand
    certain: bool | None = None


@dataclass(frozen=True, slots=True)
class GiveBack:
    """
    Leased and not spent: to be given back, once.

    Never again after an answer in doubt: given back twice, a limit would be exceeded.
    """

    key: str
    amount: int


@dataclass(slots=True)
class _Account:
    """One count as this process knows it."""

    window_end: datetime
    touched: datetime  # when it was made or last spent from
    granted: datetime  # when it was made or last grew
    maximum: int  # of the Quota as it is now
    balance: int = 0
    surplus: int = 0  # leased while the maximum was larger: to be given back, not spent
    asked: int = 0  # by leases not yet answered
    rate: float = 0.0  # units per second, averaged over RATE_MEMORY
    largest_slice: float = math.inf  # shrinks as the limit comes near
    refused_until: datetime | None = None
    refused: int = 0  # so much, or more, until then: what is smaller may still fit
    exhausted: bool | None = None  # for certain, as long as refused_until is ahead

    def limit(self, maximum: int) -> None:
        """Heed a Quota's maximum: what was leased under a larger one may be more than it allows."""
        if maximum < self.maximum:
            self.surplus += self.balance
            self.balance = 0
        self.maximum = maximum

    def add(self, amount: int, maximum: int) -> None:
        """Take in what was leased, or taken by a message, under a maximum."""
        if maximum > self.maximum:
            self.surplus += amount
        else:
            self.balance += amount

    def spend(self, amount: int, now: datetime) -> None:
        self.balance -= amount
        self.rate = self.rate_at(now) + amount / RATE_MEMORY.total_seconds()
        self.touched = now

    def refuses(self, shortfall: int, now: datetime) -> bool:
        """Whether so much was refused just now."""
        until = self.refused_until
        return until is not None and now < until and shortfall >= self.refused

    def rate_at(self, now: datetime) -> float:
        """Return the recent rate: what was spent counts less the longer ago it was."""
        past = max((now - self.touched).total_seconds(), 0.0)
        return self.rate * math.exp(-past / RATE_MEMORY.total_seconds())

    def unspent(self, now: datetime) -> int:
        """Return how much of the balance nobody has use for, by the recent rate."""
        if now - self.touched >= IDLE or now - self.granted >= IDLE:
            return self.balance
        if now - self.granted < SLICE_TIME:
            return 0  # leased for a message that is about to take it
        return max(0, self.balance - math.ceil(self.rate_at(now) * IDLE.total_seconds()))

    def slice_for(self, shortfall: int, maximum: int) -> int:
        """Return how much to lease when `shortfall` is needed at once."""
        wanted = math.ceil(self.rate * SLICE_TIME.total_seconds()) - self.asked
        return max(shortfall, int(min(wanted, self.largest_slice, maximum // _LEAST_SHARE)))


class Ledger:
    """What is leased, spent and left in this process. Time must not run backwards."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def try_spend(self, demands: Sequence[QuotaDemand], now: datetime) -> Spent | Needs | Exceeded:
        """Take all that is demanded, or nothing and say what is missing."""
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
            # Noted only now: a lease that is not going to be asked for must not count.
            for lease in leases:
                self._accounts[lease.key].asked += lease.amount
            return Needs(tuple(leases))
        for demand in demands:
            self._accounts[demand.key].spend(demand.amount, now)
        return Spent(tuple(demands))

    def granted(self, lease: Lease, amount: int, now: datetime) -> None:
        """Tell how much of a lease was granted."""
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
        """Tell whether a count that refused has nothing left for certain."""
        account = self._accounts.get(demand.key)
        if account is not None:
            account.exhausted = exhausted

    def failed(self, lease: Lease) -> None:
        """Tell that a lease was not answered, or with an error; what it took, if so, is wasted."""
        account = self._accounts.get(lease.key)
        if account is not None:
            account.asked = max(0, account.asked - lease.amount)

    def unused(self, lease: Lease) -> GiveBack | None:
        """
        Take out what was leased for one message alone, which another of its quotas refused.

        None when that was a slice, which is for others too, or when somebody has spent it.
        """
        account = self._accounts.get(lease.key)
        if account is None or not lease.last_resort:
            return None
        amount = min(lease.amount, account.balance)
        account.balance -= amount
        return GiveBack(lease.key, amount) if amount else None

    def refund(self, spent: Spent, now: datetime) -> None:
        """Put back what a message took that was not accepted."""
        for demand in spent.demands:
            account = self._account(demand, now)
            account.add(demand.amount, demand.maximum)
            account.granted = now

    def idle(self, now: datetime) -> list[GiveBack]:
        """
        Take out what lies unspent, to be given back; forget windows that are over.

        That is all of an account that nobody spent from, or that has not grown, for 5 s, and of
        others what the recent rate would not spend in 5 s. Ask about once a second.
        """
        back = []
        for key, account in list(self._accounts.items()):
            over = now >= account.window_end
            if account.asked and not over:
                continue
            unspent = 0 if over else account.unspent(now)
            if not over and unspent + account.surplus > 0:
                account.balance -= unspent
                back.append(GiveBack(key, unspent + account.surplus))
                account.surplus = 0
            if over or now - account.touched >= IDLE:
                del self._accounts[key]
        return back

    def close(self, now: datetime) -> list[GiveBack]:
        """Take out everything unspent, at shutdown."""
        back = [
            GiveBack(key, account.balance + account.surplus)
            for key, account in self._accounts.items()
            if account.balance + account.surplus > 0 and now < account.window_end
        ]
        self._accounts.clear()
        return back

    def _account(self, demand: QuotaDemand, now: datetime) -> _Account:
        account = self._accounts.get(demand.key)
        if account is None:
            account = _Account(demand.window_end, now, now, demand.maximum)
            self._accounts[demand.key] = account
        return account


def _lease(demand: QuotaDemand, account: _Account, shortfall: int) -> Lease:
    amount = account.slice_for(shortfall, demand.maximum)
    last_resort = amount == shortfall
    # A slice beyond what is needed must leave room for others' slices; the need itself need not.
    room = 0 if last_resort else amount * _ROOM_IN_SLICES
    maximum = max(0, demand.maximum - room)
    return Lease(demand.key, amount, maximum, demand.expires, shortfall, last_resort)
