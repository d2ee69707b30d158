"""Relays of two pools send to one site from two processes: the site's limit holds for both."""

import asyncio
from datetime import timedelta

import pytest

from postroad.policy.limits.portions import Claim, encode
from postroad.policy.limits.slices import decode as decode_slices
from postroad.policy.model import Rate, SiteLimits
from postroad.spool.agreement import SiteKind
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemorySpool
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad_harness.two_pools import POOLS, SITE, Timed, TwoPools


async def test_two_pools_together_use_no_more_connections_than_the_limit() -> None:
    mx = ScriptedMx(slowness=0.02)
    async with TwoPools(mx, SiteLimits(connections=4), POOLS) as two:
        await two.send("a.test", 100)
        await two.send("b.test", 100)
        for pool in POOLS.values():
            await two.start(pool)
        assert await two.delivered(200) == {"a.test": 100, "b.test": 100}
    assert mx.most_open == 4


async def test_a_pool_that_comes_later_soon_has_half() -> None:
    mx = ScriptedMx(slowness=0.05)
    async with TwoPools(mx, SiteLimits(connections=4), POOLS) as two:
        await two.send("a.test", 300)
        await two.start("default")
        await two.delivered(20)
        await two.send("b.test", 300)
        await two.start("bulk")
        assert (await two.delivered(250))["b.test"] > 50
    assert mx.most_open == 4


async def test_two_pools_pass_one_connection_to_and_fro() -> None:
    mx = ScriptedMx(slowness=0.02)
    async with TwoPools(mx, SiteLimits(connections=1), POOLS) as two:
        for domain, pool in POOLS.items():
            await two.send(domain, 200)
            await two.start(pool)
        async with asyncio.timeout(patient(20)):
            while min(two.so_far()[domain] for domain in POOLS) < 20:
                await asyncio.sleep(0.01)
    assert mx.most_open == 1


async def test_the_rest_is_for_who_is_left_when_a_process_ends() -> None:
    mx = ScriptedMx(slowness=0.05)
    async with TwoPools(mx, SiteLimits(connections=4), POOLS) as two:
        for domain, pool in POOLS.items():
            await two.send(domain, 500)
            process = await two.start(pool)
        await two.delivered(50)
        await process.aclose()
        async with asyncio.timeout(patient(10)):
            while mx.open_now < 4:
                await asyncio.sleep(0.01)
    assert mx.most_open == 4


async def test_two_pools_together_keep_a_message_rate() -> None:
    timed = Timed()
    limits = SiteLimits(message_rate=Rate(6, timedelta(seconds=1.5)))
    async with TwoPools(timed.mx, limits, POOLS) as two:
        for domain, pool in POOLS.items():
            await two.send(domain, 40)
            await two.start(pool)
        assert min((await two.delivered(18)).values()) >= 5
    # A message ends later than it begins, on a busy machine by much.
    assert timed.most_within(0.9) <= 6


async def test_two_pools_together_keep_a_message_rate_that_an_edit_brings() -> None:
    """Neither has mail as the edit comes; what they had was sent without a rate."""
    timed = Timed()
    async with TwoPools(timed.mx, SiteLimits(), POOLS) as two:
        for domain, pool in POOLS.items():
            await two.send(domain, 10)
            await two.start(pool)
        await two.delivered(20)
        await two.edit(SiteLimits(message_rate=Rate(6, timedelta(seconds=1.5))))
        async with asyncio.timeout(patient(10)):
            while not all(claim.outdated for claim in two.claims):
                await asyncio.sleep(0.01)
        timed.ends.clear()
        for domain in POOLS:
            await two.send(domain, 40)
        assert min((await two.delivered(38)).values()) > 10
    # A message ends later than it begins, on a busy machine by much.
    assert timed.most_within(0.9) <= 6


async def test_mail_that_waits_for_its_portion_goes_on_when_there_is_one_pool_again() -> None:
    limits = SiteLimits(connections=1, messages_per_connection=5)
    async with TwoPools(ScriptedMx(), limits, POOLS) as two:
        other = MemorySpool(two.cluster, pool="bulk").site_records.owner
        all_of_it = encode(SITE, [Claim(other, limits, 1, wants=False)])
        two.cluster.agreement.site_records[SiteKind.CONNECTIONS, SITE] = all_of_it
        await two.send("a.test", 10)
        await two.start("default")
        async with asyncio.timeout(patient(10)):
            while len(two.claims) < 2:
                await asyncio.sleep(0.01)
        assert two.so_far() == {}
        await two.publish("default")
        two.cluster.agreement.site_records[SiteKind.CONNECTIONS, SITE] = encode(SITE, [])
        await two.delivered(10)
        async with asyncio.timeout(patient(10)):
            while two.claims:
                await asyncio.sleep(0.01)


async def test_one_who_is_alone_writes_down_his_claim_once() -> None:
    limits = SiteLimits(connections=1, messages_per_connection=5)
    async with TwoPools(ScriptedMx(slowness=0.01), limits, POOLS) as two:
        await two.send("a.test", 150)
        await two.start("default")
        await two.delivered(10)
        first = two.changes
        await two.delivered(150)
        assert two.changes == first == 1


async def test_where_pools_do_not_meet_nothing_is_claimed() -> None:
    pools = {"a.test": "default", "b.test": "default"}
    async with TwoPools(ScriptedMx(), SiteLimits(connections=2), pools) as two:
        await two.send("a.test", 10)
        await two.start("default")
        await two.delivered(10)
        assert two.cluster.agreement.site_records == {}


async def test_a_process_that_takes_over_goes_on_with_the_window() -> None:
    limits = SiteLimits(message_rate=Rate(5, timedelta(hours=1)))
    mx = ScriptedMx()
    async with TwoPools(mx, limits, {"a.test": "default"}) as two:
        await two.send("a.test", 3)
        first = await two.start("default")
        await two.delivered(3)
        await first.aclose()
        await two.send("a.test", 7)
        await two.start("default")
        await two.delivered(5)
        records = two.cluster.agreement.site_records
        key = SiteKind.WINDOW, f"{SITE} relay:shop/a.test"
        async with asyncio.timeout(patient(10)):
            while not decode_slices(records[key]).line:  # it waits for the window
                await asyncio.sleep(0.01)
        assert len(mx.messages) == 5


async def test_connections_that_idle_end_as_their_lane_goes_to_another_process() -> None:
    """They would be beside those of its next owner, who knows only of his own."""
    mx = ScriptedMx(slowness=0.1)
    async with TwoPools(mx, SiteLimits(connections=3), {"a.test": "default"}) as two:
        await two.send("a.test", 3)
        await two.start("default")
        await two.delivered(3)
        assert mx.open_now == 3, "they are kept for the next message"
        for _ in range(3):  # of which one has the lane
            await two.start("default")
        await two.send("a.test", 3)
        await two.delivered(6)
        assert mx.connections == 6
        assert mx.most_open == 3, "\n".join(mx.history)


async def test_with_storage_full_rated_mail_still_leaves_and_keeps_its_rate() -> None:
    limits = SiteLimits(message_rate=Rate(3, timedelta(hours=1)))
    mx = ScriptedMx()
    async with TwoPools(mx, limits, {"a.test": "default"}) as two:
        await two.send("a.test", 3)
        two.cluster.store.full = True
        await two.start("default")
        await two.delivered(3)
        assert two.cluster.agreement.site_records == {}, "nothing could be written"


@pytest.mark.parametrize("moves", [0, 1, 2], ids=lambda moves: f"moved {moves} times before")
async def test_mail_of_a_pool_that_no_relay_names_goes_to_the_owner_of_its_lane(moves: int) -> None:
    """Whoever takes it from there would send it beside him, within limits of its own."""
    pools = {"a.test": "default", "b.test": "default"}
    mx = ScriptedMx(slowness=0.02)
    async with TwoPools(mx, SiteLimits(connections=2), pools) as two:
        await two.send("a.test", 50)
        await two.send("b.test", 100, pool="gone", lane_moves=moves)
        for _ in range(3):
            await two.start("default")
        assert await two.delivered(150) == {"a.test": 50, "b.test": 100}
    assert mx.most_open == 2


async def test_processes_that_disagree_about_a_pool_do_not_pass_mail_on_for_ever() -> None:
    pools = {"a.test": "default", "b.test": "default"}
    async with TwoPools(ScriptedMx(), SiteLimits(), pools) as two:
        await two.send("b.test", 1, pool="gone", site=SITE, lane_moves=3, generation=1)
        await two.start("default")
        await two.delivered(1)
        moved = [each for each in two.cluster.agreement.events if each.type is EventType.MOVED]
    assert moved == []
