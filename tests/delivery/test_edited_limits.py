"""Limits and rates change while mail waits for its turn at a site."""

import asyncio
from datetime import timedelta

import pytest

from postroad.policy.limits.slices import decode
from postroad.policy.model import (
    Rate,
    SiteLimits,
)
from postroad.spool.agreement import SiteKind
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send
from postroad_harness.setups.delivery.edits import HOUR, SLOW, arrived, four_wait, to_smarthost


async def test_other_smarthosts_are_sent_no_more_than_the_rate_of_their_relay() -> None:
    spool = MemorySpool()
    two = SiteLimits(message_rate=Rate(2, HOUR))
    async with ScriptedMx() as before, ScriptedMx() as after:
        async with four_wait(spool, anywhere=to_smarthost(before, SLOW)):
            await publish(spool, anywhere=to_smarthost(after, two))
            await history(spool, EventType.DELIVERY, 2)
            await publish(spool, anywhere=to_smarthost(before, two))
            await asyncio.sleep(0.3)  # in which the others would go
        assert (len(before.messages), len(after.messages)) == (1, 1)


@pytest.mark.parametrize("rate", [None, Rate(100, HOUR)], ids=["none", "higher"])
async def test_a_rate_that_is_raised_lets_what_waits_go_on(rate: Rate | None) -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        async with four_wait(spool, anywhere=to_smarthost(mx, SLOW)):
            await publish(spool, anywhere=to_smarthost(mx, SiteLimits(message_rate=rate)))
            await history(spool, EventType.DELIVERY, 5)
        assert len(await arrived(mx, 5)) == 5


async def test_a_next_start_that_comes_nearer_is_not_waited_for_as_long_as_before() -> None:
    spool = MemorySpool()
    soon = SiteLimits(message_rate=Rate(1, timedelta(seconds=0.5)))
    async with ScriptedMx() as mx, four_wait(spool, anywhere=to_smarthost(mx, SLOW)):
        await publish(spool, anywhere=to_smarthost(mx, soon))
        await history(spool, EventType.DELIVERY, 3)


async def test_connections_that_are_fewer_hold_for_what_waits_too() -> None:
    open_then: list[int] = []

    def script(line: bytes, count: int) -> None:
        if line == b".":
            open_then.append(mx.open_now)

    spool = MemorySpool()
    mx = ScriptedMx(script, slowness=0.1)
    async with mx:
        await publish(spool, anywhere=to_smarthost(mx, SiteLimits(connections=5)))
        await send(spool, *(f"{number}@y.example" for number in range(20)))
        async with delivering(spool):
            await arrived(mx, 5)
            await publish(spool, anywhere=to_smarthost(mx, SiteLimits(connections=1)))
            await history(spool, EventType.DELIVERY, 20)
    assert max(open_then) == 5
    assert set(open_then[15:]) == {1}


async def test_a_rate_that_is_raised_ends_the_wait_for_what_another_process_has_used() -> None:
    cluster = MemoryCluster()
    gone, heir = MemorySpool(cluster), MemorySpool(cluster)
    window = "relay:shop/a relay:shop/a"
    async with ScriptedMx() as mx:
        async with four_wait(gone, anywhere=to_smarthost(mx, SLOW)):
            pass
        async with delivering(heir):
            async with asyncio.timeout(patient(10)):
                while not decode(cluster.agreement.site_records[SiteKind.WINDOW, window]).line:
                    await asyncio.sleep(0.01)
            rate = Rate(100, HOUR)
            await publish(heir, anywhere=to_smarthost(mx, SiteLimits(message_rate=rate)))
            await history(heir, EventType.DELIVERY, 5)
