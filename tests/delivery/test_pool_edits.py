"""A site bears its limits also while an edit puts Relays that send there into other pools."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import pytest

from postroad.delivery.sharing import settled
from postroad.policy.model import Rate, SiteLimits
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad_harness.two_pools import POOLS, Timed, TwoPools

TOGETHER = dict.fromkeys(POOLS, "default")
MOVED = dict.fromkeys(POOLS, "bulk")
EDITS = [(TOGETHER, POOLS), (POOLS, TOGETHER), (POOLS, MOVED), (TOGETHER, MOVED)]
NAMES = ["parted", "joined", "joined elsewhere", "moved"]


async def begin(two: TwoPools, pools: Mapping[str, str], count: int) -> None:
    """Let there be a process of each pool, and mail that each Relay sends."""
    for pool in POOLS.values():
        await two.start(pool)
    for domain, pool in pools.items():
        await two.send(domain, count, pool=pool)


@pytest.mark.parametrize(("before", "after"), EDITS, ids=NAMES)
@pytest.mark.parametrize("smarthost", [False, True], ids=["mx", "smarthost"])
async def test_an_edit_of_pools_opens_no_connection_too_many(
    before: Mapping[str, str], after: Mapping[str, str], smarthost: bool
) -> None:
    mx = ScriptedMx(slowness=0.3)
    limits = SiteLimits(connections=4)
    async with TwoPools(mx, limits, before, smarthost=smarthost) as two:
        await begin(two, before, 20)
        await two.delivered(8)
        await two.edit(pools=after)
        for domain, pool in after.items():
            await two.send(domain, 20, pool=pool)
        await two.delivered(80)
    assert mx.most_open == (8 if smarthost else 4)


@pytest.mark.parametrize(("before", "after"), EDITS, ids=NAMES)
async def test_an_edit_of_pools_begins_no_message_too_many(
    before: Mapping[str, str], after: Mapping[str, str]
) -> None:
    """Some 5 s: the rate's window."""
    timed = Timed()
    limits = SiteLimits(message_rate=Rate(6, timedelta(seconds=4)))
    async with TwoPools(timed.mx, limits, before) as two:
        await begin(two, before, 20)
        await two.delivered(6)
        await two.edit(pools=after)
        for domain, pool in after.items():
            await two.send(domain, 20, pool=pool)
        await two.delivered(10)
    # A message ends later than it begins, on a busy machine by much.
    assert timed.most_within(3) <= 6


@pytest.mark.parametrize("smarthost", [False, True], ids=["mx", "smarthost"])
async def test_a_process_that_starts_just_after_an_edit_opens_no_connection_too_many(
    smarthost: bool,
) -> None:
    mx = ScriptedMx(slowness=0.3)
    limits = SiteLimits(connections=4)
    async with TwoPools(mx, limits, TOGETHER, smarthost=smarthost) as two:
        await two.start("default")
        for domain in TOGETHER:
            await two.send(domain, 20)
        await two.delivered(8)
        await two.edit(pools=MOVED)
        for domain in MOVED:
            await two.send(domain, 20)
        await two.start("bulk")
        await two.delivered(80)
    assert mx.most_open == (8 if smarthost else 4)


async def test_a_process_that_starts_just_after_an_edit_begins_no_message_too_many() -> None:
    """Some 5 s: the rate's window."""
    timed = Timed()
    limits = SiteLimits(message_rate=Rate(6, timedelta(seconds=4)))
    async with TwoPools(timed.mx, limits, TOGETHER) as two:
        await two.start("default")
        for domain in TOGETHER:
            await two.send(domain, 20)
        await two.delivered(6)
        await two.edit(pools=MOVED)
        for domain in MOVED:
            await two.send(domain, 20)
        await two.start("bulk")
        await two.delivered(10)
    # A message ends later than it begins, on a busy machine by much.
    assert timed.most_within(3) <= 6


async def test_a_process_that_cannot_settle_an_edit_ends_and_lets_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settled, "LONGEST_WAIT", timedelta(seconds=0.5))
    mx = ScriptedMx(slowness=0.3)
    async with TwoPools(mx, SiteLimits(connections=4), TOGETHER) as two:
        for pool in POOLS.values():
            await two.start(pool)
        await two.send("a.test", 20)
        await two.delivered(4)
        two.mute.add(two.owners["default"])
        await two.edit(pools=POOLS)
        await two.send("b.test", 20)
        async with asyncio.timeout(patient(15)):
            while two.so_far()["b.test"] < 20:
                await asyncio.sleep(0.01)
    assert mx.most_open == 4


async def test_a_process_that_is_left_alone_soon_claims_nothing_more() -> None:
    async with TwoPools(ScriptedMx(slowness=0.05), SiteLimits(connections=4), POOLS) as two:
        await begin(two, POOLS, 50)
        await two.delivered(10)
        assert two.claims
        await two.edit(pools=TOGETHER)
        await two.delivered(100)
        await two.send("a.test", 50)
        async with asyncio.timeout(patient(20)):
            while two.claims:
                await asyncio.sleep(0.01)
        await two.delivered(150)
