"""What a process leases of a quota and does not use is returned, whatever happens between."""

import asyncio
import ipaddress
from datetime import timedelta
from typing import Any

import pytest

from postroad.acceptance import quotas
from postroad.acceptance.quotas import Allowed, Quotas
from postroad.policy.limits import quota_ledger
from postroad.policy.limits.quota import Sending
from postroad.policy.model import (
    ObjectKey,
    Quota,
    QuotaLimit,
    QuotaSubject,
    QuotaUnit,
    SubjectKind,
)
from postroad.policy.snapshot import Snapshot
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.memory.agreement import Agreement, MemoryQuotaCounters
from postroad.testing.patience import patient

SENDING = Sending(ObjectKey("shop", "web"), None, ipaddress.ip_address("192.0.2.1"))


class Counters(MemoryQuotaCounters):
    """Counters of which one does not answer, and which note what was said of each lease."""

    def __init__(self) -> None:
        self.shared = Agreement()
        self.away = False
        self.final: list[bool] = []
        super().__init__(self.shared)

    async def lease(self, key: str, *, final: bool = True, **more: Any) -> int:
        """Answer, or not."""
        if self.away:
            self.away = False
            raise SpoolUnavailable("no answer")
        self.final.append(final)
        return await super().lease(key, final=final, **more)


def of(*names: str) -> Snapshot:
    """Return a configuration with Quotas of these names, each for all mail of a namespace."""
    limit = QuotaLimit(QuotaUnit.MESSAGES, 10, timedelta(days=1))
    subject = QuotaSubject(SubjectKind.NAMESPACE, "*")
    keys = [ObjectKey("mail", name) for name in names]
    return Snapshot(1, quotas={key: Quota(key, subject, (limit,)) for key in keys})


async def test_what_was_leased_after_a_lease_without_an_answer_goes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An account that seems to wait for an answer would keep it until its window ends."""
    monkeypatch.setattr(quota_ledger, "IDLE", timedelta(0))
    monkeypatch.setattr(quotas, "_INTERVAL", 0.01)
    counters = Counters()
    kept = Quotas(counters)
    counters.away = True
    with pytest.raises(SpoolUnavailable):
        await kept.take(of("all"), SENDING)
    allowed = await kept.take(of("all"), SENDING)
    assert isinstance(allowed, Allowed)
    kept.refund(allowed.spent)
    running = asyncio.create_task(kept.run())
    async with asyncio.timeout(patient(5)):
        while any(counters.shared.usage.values()):
            await asyncio.sleep(0.01)
    running.cancel()


@pytest.mark.parametrize(("names", "final"), [(["all"], [True]), (["all", "each"], [False] * 2)])
async def test_what_another_quota_may_send_back_is_not_said_to_be_spent(
    names: list[str], final: list[bool]
) -> None:
    """Else another process would refuse for good what can be had a moment later."""
    counters = Counters()
    assert isinstance(await Quotas(counters).take(of(*names), SENDING), Allowed)
    assert counters.final == final
