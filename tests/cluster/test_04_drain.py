"""Scenario 4: each node in turn is drained, as for maintenance."""

from postroad_harness.cluster import kube
from postroad_harness.cluster.kube import kubectl
from postroad_harness.cluster.report import settle
from postroad_harness.cluster.scene import Scene

DRAIN = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=180s")


async def test_each_node_is_drained(steady: Scene) -> None:
    async with steady.flow() as flow:
        await flow.reached(100)
        for node in await kube.items("nodes"):
            name = node["metadata"]["name"]
            await kubectl("drain", name, *DRAIN, seconds=190)
            await flow.more(100)
            await kubectl("uncordon", name)
            await steady.release.all_there()
        await settle("4. kubectl drain of each node in turn", flow)
