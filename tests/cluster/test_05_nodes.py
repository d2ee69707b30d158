"""Scenario 5: a node loses its power, another its network."""

import asyncio
import json
from collections.abc import Awaitable, Callable

from postroad_harness.cluster import kube
from postroad_harness.cluster.release import Release
from postroad_harness.cluster.report import promised, settle
from postroad_harness.cluster.scene import Scene

Lab = Callable[..., Awaitable[None]]

MOVES_AGAIN = 30.0  # seconds after a node is gone
A_MINUTE = 60.0
MONITOR = 8222


async def test_power_cut_of_the_node_that_leads_a_stream(steady: Scene, lab: Lab) -> None:
    await steady.release.spread()
    node = await node_of_a_leader(steady.release)
    async with steady.flow() as flow:
        await flow.reached(300)
        await lab("node-kill", node)
        await flow.more(600, seconds=120)
        await lab("node-start", node)
        await steady.release.all_there()
        await flow.more(100)
        figures = await settle("5a. power cut of a node with a stream's leader", flow)
    assert figures.longest_gap < promised(MOVES_AGAIN)


async def test_a_node_is_cut_off_for_a_minute(steady: Scene, lab: Lab) -> None:
    await steady.release.spread()
    node = await node_of_a_leader(steady.release)
    async with steady.flow() as flow:
        await flow.reached(300)
        await lab("node-cut", node)
        await asyncio.sleep(A_MINUTE)
        await lab("node-mend", node)
        await flow.more(300)
        await kube.kubectl("wait", "--for=condition=Ready", f"node/{node}", "--timeout=60s")
        await steady.release.all_there()
        figures = await settle("5b. a node cut off for a minute, then mended", flow)
    assert figures.longest_gap < promised(MOVES_AGAIN)


async def node_of_a_leader(release: Release) -> str:
    """Return the node of the nats pod that leads the first ready stream."""
    pods = {pod["metadata"]["name"]: pod for pod in await release.pods("nats")}
    for pod in pods.values():
        page = json.loads(await release.page(pod, "jsz?streams=true&accounts=true", MONITOR))
        for account in page.get("account_details", []):
            for stream in account.get("stream_detail", []):
                leader = pods.get(stream.get("cluster", {}).get("leader", ""))
                if leader is not None:
                    return str(leader["spec"]["nodeName"])
    raise AssertionError(f"no stream is led by one of {', '.join(pods)}")
