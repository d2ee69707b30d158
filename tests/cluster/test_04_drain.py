"""Scenario 4: each node in turn is drained, as for maintenance."""

from postroad.testing import kube
from postroad.testing.cluster_report import settle
from postroad.testing.kube import kubectl
from postroad.testing.scene import Scene

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
