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


async def waits_or_exceeds(two: TwoPools, mx: ScriptedMx, most: int) -> None:
    """Wait until a process waits for the window to move on, or more than `most` were sent."""
    async with asyncio.timeout(patient(10)):
        while len(mx.messages) <= most:
            records = two.cluster.agreement.site_records.items()
            if any(decode(each).line for (kind, _), each in records if kind in RATES):
                return
            await asyncio.sleep(0.01)


RATES = (SiteKind.WINDOW, SiteKind.MESSAGES)


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
        await two.delivered(most)
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
        await two.send("a.test", 10)
        await two.delivered(5)
        await waits_or_exceeds(two, mx, 5)
    assert two.so_far() == {"a.test": 3, "b.test": 2}
