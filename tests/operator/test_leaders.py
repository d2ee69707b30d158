"""The leaders of the streams: decided in tables, and changed on real servers."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from postroad.operator.jetstream.api import asking
from postroad.operator.jetstream.leaders import HandOver, Led, hand_over, led, spread
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.streams.subjects import stream_name
from postroad.spool.lanes.keys import QueueStream
from postroad.spool.lanes.layout import Layout
from postroad.testing.patience import patient
from postroad.testing.queue.nats_cluster import NatsCluster, provisioned

SERVERS = ("n0", "n1", "n2")
SHARDS = 2


def streams(*leaders: str) -> list[Led]:
    """Streams s0, s1 … led so, each with the other servers as followers."""
    return [
        Led(f"s{number}", leader, tuple(name for name in SERVERS if name != leader))
        for number, leader in enumerate(leaders)
    ]


@pytest.mark.parametrize(
    ("leaders", "wanted"),
    [
        (("n0", "n1", "n2"), None),
        (("n1", "n1", "n1"), HandOver("s0", "n0")),
        (("n0", "n1", "n1"), HandOver("s1", "n2")),
        (("n0", "n0", "n1", "n2"), None),
        (("n0", "n0", "n0", "n2"), HandOver("s0", "n1")),
        (("n0",), None),
        ((), None),
    ],
)
def test_who_leads_more_than_its_share_hands_over_to_who_leads_least(
    leaders: tuple[str, ...], wanted: HandOver | None
) -> None:
    assert hand_over(streams(*leaders)) == wanted


def test_nobody_hands_over_to_who_is_not_up_to_date() -> None:
    alone = [Led(f"s{number}", "n0", ()) for number in range(3)]
    assert hand_over(alone) is None


@pytest.mark.nats
@pytest.mark.faults
@pytest.mark.timeout(180)
async def test_a_server_that_leads_all_shards_hands_one_over(tmp_path: Path) -> None:
    """Takes some 7 s: three servers, and a new leader of each stream."""
    layout = Layout(SHARDS, 2, 3)
    async with NatsCluster(tmp_path) as cluster:
        options = SpoolOptions(servers=cluster.urls, role="operator")
        async with asyncio.timeout(patient(150)):
            await provisioned(options, layout=layout, capacity=10**10)
            await lead_all(options, "test-1")
            handed = 0
            while len(set(await leaders(options)) - {""}) < SHARDS:
                handed += await looked(options, layout)
        assert handed >= 1


async def looked(options: SpoolOptions, layout: Layout) -> int:
    """Look once; return how many streams were handed over."""
    try:
        return int(await spread(options, layout) is not None)
    except SpoolUnavailable:  # a stream has no leader for a moment
        return 0


async def lead_all(options: SpoolOptions, name: str) -> None:
    """Let one server lead every shard's records."""
    wanted = {"placement": {"preferred": name}}
    while set(await leaders(options)) != {name}:
        for shard in range(SHARDS):
            if (await leaders(options))[shard] == name:
                continue
            with suppress(SpoolUnavailable):  # it has no leader now, and is asked again
                async with asking(options) as api:
                    await api.ask(
                        f"STREAM.LEADER.STEPDOWN.{stream_name(QueueStream.WAITING, shard)}", wanted
                    )


async def leaders(options: SpoolOptions) -> list[str]:
    """Return who leads each shard's records, "" where nobody does."""
    found = []
    async with asking(options) as api:
        for shard in range(SHARDS):
            try:
                found.append((await led(api, stream_name(QueueStream.WAITING, shard))).leader)
            except SpoolUnavailable:
                found.append("")
    return found
