"""Another process takes over a site: it goes on with the window of all Relays that send there."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import pytest

from postroad.policy.limits.slices import decode
from postroad.policy.model import Rate, SiteLimits
from postroad.spool.agreement import SiteKind
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad_harness.two_pools import POOLS, TwoPools

HOUR = timedelta(hours=1)
FIVE = SiteLimits(message_rate=Rate(5, HOUR))
TOGETHER = dict.fromkeys(POOLS, "default")
RATES = (SiteKind.WINDOW, SiteKind.MESSAGES)


async def sends_the_rest(two: TwoPools, mx: ScriptedMx, domain: str, *pools: str) -> None:
    """Queue more than the window allows; let new processes of `pools` send the rest of it."""
    await two.send(domain, 10)
    for pool in pools:
        await two.start(pool)
    await waits_or_exceeds(two, mx)


async def waits_or_exceeds(two: TwoPools, mx: ScriptedMx, most: int = 5) -> None:
    """Wait until a process waits for the window to move on, or more than `most` were sent."""
    await two.delivered(most)
    async with asyncio.timeout(patient(10)):
        while len(mx.messages) <= most:
            records = two.cluster.agreement.site_records.items()
            if any(decode(each).line for (kind, _), each in records if kind in RATES):
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("limits", "names", "most"),
    [
        (FIVE, {}, 5),
        (FIVE, {"b.test": "relay:shop/new"}, 5),
        (SiteLimits(message_rate=Rate(7, HOUR)), {}, 7),
    ],
    ids=["no edit", "renamed", "another rate"],
)
async def test_what_another_relay_has_begun_counts_for_the_next_owner(
    limits: SiteLimits, names: Mapping[str, str], most: int
) -> None:
    mx = ScriptedMx()
    async with TwoPools(mx, FIVE, TOGETHER) as two:
        await two.send("a.test", 3)
        first = await two.start("default")
        await two.delivered(3)
        await first.aclose()
        await two.edit(limits, names=names)
        await two.send("b.test", 10)
        await two.start("default")
        await waits_or_exceeds(two, mx, most)
    assert two.so_far() == {"a.test": 3, "b.test": most - 3}


async def test_a_process_that_has_its_site_again_counts_what_was_begun_meanwhile() -> None:
    mx = ScriptedMx()
    async with TwoPools(mx, FIVE, TOGETHER) as two:
        await two.send("a.test", 2)
        await two.start("default")
        await two.delivered(2)
        meanwhile = [await two.start("default") for _ in range(3)]
        await two.send("b.test", 2)
        await two.delivered(4)
        for process in meanwhile:
            await process.aclose()
        await sends_the_rest(two, mx, "a.test")
    assert two.so_far() == {"a.test": 3, "b.test": 2}


async def test_what_pools_have_begun_counts_for_an_owner_who_knows_of_one_pool() -> None:
    """Both processes end, and an edit joins the pools before the next one starts."""
    mx = ScriptedMx()
    async with TwoPools(mx, FIVE, POOLS) as two:
        processes = [await two.start(pool) for pool in POOLS.values()]
        await two.send("a.test", 1)
        await two.send("b.test", 2)
        await two.delivered(3)
        for process in processes:
            await process.aclose()
        await two.edit(pools=TOGETHER)
        await sends_the_rest(two, mx, "a.test", "default")
    assert two.so_far() == {"a.test": 3, "b.test": 2}


async def test_what_a_former_owner_has_begun_counts_for_a_pool_that_joins() -> None:
    mx = ScriptedMx()
    async with TwoPools(mx, FIVE, TOGETHER) as two:
        await two.send("a.test", 3)
        first = await two.start("default")
        await two.delivered(3)
        await first.aclose()
        await two.edit(pools=POOLS)
        await sends_the_rest(two, mx, "b.test", *POOLS.values())
    assert two.so_far() == {"a.test": 3, "b.test": 2}


async def test_pools_go_on_with_their_common_window_after_everything_was_restarted() -> None:
    mx = ScriptedMx()
    async with TwoPools(mx, FIVE, POOLS) as two:
        processes = [await two.start(pool) for pool in POOLS.values()]
        await two.send("a.test", 3)
        await two.delivered(3)
        for process in processes:
            await process.aclose()
        two.cluster.agreement.lose_memory()
        await sends_the_rest(two, mx, "b.test", *POOLS.values())
    assert two.so_far() == {"a.test": 3, "b.test": 2}


async def test_processes_go_on_with_their_common_window_after_the_servers_were_restarted() -> None:
    mx = ScriptedMx()
    async with TwoPools(mx, FIVE, POOLS) as two:
        for pool in POOLS.values():
            await two.start(pool)
        await two.send("b.test", 1)  # its process now knows what the other one has begun
        await two.delivered(1)
        await two.send("a.test", 4)
        await two.delivered(5)
        two.cluster.agreement.lose_memory()
        await two.send("b.test", 10)
        await waits_or_exceeds(two, mx)
    assert two.so_far() == {"a.test": 4, "b.test": 1}


async def test_with_storage_full_pools_still_send_and_keep_their_common_rate() -> None:
    mx = ScriptedMx()
    async with TwoPools(mx, FIVE, POOLS) as two:
        for domain in POOLS:
            await two.send(domain, 10)
        two.cluster.store.full = True
        for pool in POOLS.values():
            await two.start(pool)
        await waits_or_exceeds(two, mx)
        written = {kind for kind, _ in two.cluster.agreement.site_records}
    assert two.so_far().total() == 5
    assert SiteKind.WINDOW not in written
