"""An edit that cannot be applied at once: mail that has left its room is not lost sight of."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from postroad.delivery.dispatch.assignment import SiteAssignment
from postroad.delivery.sites.sites import Sites
from postroad.policy.model import Rate, SiteLimits
from postroad.spool.event import EventType
from postroad.spool.interface import LeasedRecord
from postroad.spool.memory.spool import MemorySpool
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import (
    delivering,
    history,
    publish,
    send,
    to_smarthost,
    waiting,
)

SLOW = SiteLimits(message_rate=Rate(1, timedelta(hours=1)))  # one goes, and the others wait
TO = [f"{number}@y.example" for number in range(5)]


async def withdraw(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, once: object) -> None:
    """Withdraw a smarthost at which four messages wait, with a mistake: all go to the new one."""
    spool = MemorySpool()
    async with ScriptedMx() as before, ScriptedMx() as after:
        await publish(spool, anywhere=replace(to_smarthost(before), limits=SLOW))
        await send(spool, *TO)
        async with delivering(spool):
            await history(spool, EventType.DELIVERY)
            monkeypatch.setattr(owner, name, once)
            await publish(spool, anywhere=to_smarthost(after))
            await history(spool, EventType.DELIVERY, 5)
        assert len(after.messages) == 4
    assert await waiting(spool) == []


async def test_an_edit_that_fails_at_first_loses_sight_of_no_mail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody knew of what had left its room, and its lease was renewed for ever."""
    renew, failures = Sites.renew, list[str]()

    def fail_once(self: Sites, limits: Mapping[str, SiteLimits]) -> None:
        if not failures:
            failures.append("once")
            raise ValueError("nobody planned this")
        renew(self, limits)

    await withdraw(monkeypatch, Sites, "renew", fail_once)
    assert failures


async def test_a_record_that_cannot_be_assigned_again_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin, failures = SiteAssignment.begin, list[str]()

    def fail_once(self: SiteAssignment, leased: LeasedRecord) -> None:
        if not failures:
            failures.append("once")
            raise ValueError("nobody planned this")
        begin(self, leased)

    await withdraw(monkeypatch, SiteAssignment, "begin", fail_once)
    assert failures
