"""Leader election: never two leaders, and never none for long."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from postroad.operator.kubernetes import lease as lease_module
from postroad.operator.kubernetes.client import ApiAccess, ApiRefused, Kube
from postroad.operator.kubernetes.lease import LeaseKeeper, LeaseStep, Seen, decide, lost, observe

DURATION = timedelta(seconds=15)


@pytest.mark.parametrize(
    ("holder", "age", "step"),
    [
        ("me", 0.0, LeaseStep.RENEW),
        ("me", 100.0, LeaseStep.RENEW),  # nobody took it meanwhile: a restarted process goes on
        ("", 0.0, LeaseStep.TAKE),  # given up
        ("other", 0.0, LeaseStep.WAIT),
        ("other", 14.9, LeaseStep.WAIT),
        ("other", 15.0, LeaseStep.TAKE),
    ],
)
def test_what_may_be_done_about_a_lease(holder: str, age: float, step: LeaseStep) -> None:
    seen = Seen(holder, "2026-11-24T10:00:00.000000Z", DURATION, since=1000.0)
    assert decide(seen, "me", 1000.0 + age) is step


def lease(holder: str, renewed: str) -> dict[str, Any]:
    return {
        "spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15},
    }


def test_age_is_counted_by_our_own_clock_from_the_last_change() -> None:
    # The holder's clock is a year behind: what counts is that what it writes changes.
    first = observe(lease("other", "2025-01-01T00:00:00Z"), None, 100.0)
    same = observe(lease("other", "2025-01-01T00:00:00Z"), first, 110.0)
    renewed = observe(lease("other", "2025-01-01T00:00:10Z"), same, 112.0)
    assert (first.since, same.since, renewed.since) == (100.0, 100.0, 112.0)
    assert decide(renewed, "me", 116.0) is LeaseStep.WAIT


def test_a_holder_stops_before_others_may_begin() -> None:
    assert not lost(100.0, 109.9)
    assert lost(100.0, 110.0)
    # Others wait for 15 s after they saw the last renewal, which is after it was sent.
    assert timedelta(seconds=10) < DURATION


class SilentKube(Kube):
    """An API server that lets each request wait for as long as it may."""

    def __init__(self) -> None:
        super().__init__(lambda: ApiAccess(server="http://127.0.0.1:1"))
        self.silent = False

    async def request(self, method: str, path: str, **_: Any) -> dict[str, Any]:
        """Answer at once, or at the last moment."""
        if self.silent:
            await asyncio.Event().wait()
        if method == "GET":
            raise ApiRefused(404, "not found")
        return {}


async def test_a_renewal_without_an_answer_ends_before_others_may_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease_module, "LOST_AFTER", timedelta(seconds=0.3))
    kube = SilentKube()
    keeper = LeaseKeeper(kube, "mail", "lease", "me", renewal=timedelta(seconds=0.05))
    await keeper.acquire()
    kube.silent = True
    async with asyncio.timeout(2):
        await keeper.keep()
    assert not keeper.holding
