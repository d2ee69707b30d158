"""Quotas, and what the cluster holds of them, for tests of the ledger."""

import ipaddress
from datetime import UTC, datetime, timedelta

from postroad.policy.limits.quota import QuotaDemand, Sending, demands
from postroad.policy.limits.quota_ledger import Exceeded, GiveBack, Lease, Ledger, Needs, Spent
from postroad.policy.model import (
    ObjectKey,
    Quota,
    QuotaLimit,
    QuotaSubject,
    QuotaUnit,
    SubjectKind,
)

START = datetime(2026, 11, 24, 10, tzinfo=UTC)
CLIENT = ObjectKey("shop", "webshop")


def quota(maximum: int, unit: QuotaUnit = QuotaUnit.MESSAGES, *, seconds: int = 3600) -> Quota:
    limit = QuotaLimit(unit, maximum, timedelta(seconds=seconds))
    return Quota(ObjectKey("mail", unit.value), QuotaSubject(SubjectKind.NAMESPACE, "*"), (limit,))


def wanted(*quotas: Quota, now: datetime = START, recipients: int = 1) -> tuple[QuotaDemand, ...]:
    sending = Sending(CLIENT, None, ipaddress.ip_address("192.0.2.1"), recipients=recipients)
    return demands(quotas, sending, now)


class Usage:
    """What the cluster holds, as spool.agreement.QuotaCounters promises it."""

    def __init__(self) -> None:
        self.used: dict[str, int] = {}
        self.calls = 0

    def lease(self, lease: Lease) -> int:
        self.calls += 1
        used = self.used.get(lease.key, 0)
        granted = max(0, min(lease.amount, lease.maximum - used))
        if granted < lease.shortfall:
            return 0
        self.used[lease.key] = used + granted
        return granted

    def give_back(self, back: list[GiveBack]) -> None:
        for each in back:
            self.used[each.key] -= each.amount


def send(
    ledger: Ledger, usage: Usage, asked: tuple[QuotaDemand, ...], now: datetime
) -> Spent | Exceeded:
    """Do as ingress does."""
    for _ in range(20):
        outcome = ledger.try_spend(asked, now)
        if not isinstance(outcome, Needs):
            return outcome
        for lease in outcome.leases:
            ledger.granted(lease, usage.lease(lease), now)
    raise AssertionError("asking did not come to an end")
