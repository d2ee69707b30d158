"""Scenario 2: pods are added and removed while mail flows."""

from collections.abc import Iterable
from datetime import datetime

from postroad_harness.cluster import kube
from postroad_harness.cluster.kube import Object
from postroad_harness.cluster.report import promised, settle
from postroad_harness.cluster.scene import Scene

READY_WITHIN = 10.0  # seconds from a container's start


async def test_delivery_from_1_to_4_to_1_and_ingress_from_1_to_3_to_1(steady: Scene) -> None:
    took: list[float] = []
    release = steady.release
    async with steady.flow() as flow:
        for component, many in (("delivery", 4), ("ingress", 3)):
            await release.scale(component, 1)
            # Not those of the installation, which had to wait for NATS to be there.
            before = names(await release.ready_pods(component))
            await flow.more(200)
            await release.scale(component, many)
            after = await release.ready_pods(component)
            new = [pod for pod in after if pod["metadata"]["name"] not in before]
            assert len(new) == many - 1
            took += [seconds_to_ready(pod) for pod in new]
            await flow.more(400)
            await release.scale(component, 1)
            await flow.more(200)
        await settle("2. delivery 1-4-1, ingress 1-3-1", flow, slowest_pod_to_be_ready=max(took))
    assert max(took) <= promised(READY_WITHIN)


def names(pods: Iterable[Object]) -> set[str]:
    return {pod["metadata"]["name"] for pod in pods}


def seconds_to_ready(pod: Object) -> float:
    """Return the time between a container's start and its pod's readiness, in whole seconds."""
    started = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
    turned = kube.condition(pod, "Ready")["lastTransitionTime"]
    return (datetime.fromisoformat(turned) - datetime.fromisoformat(started)).total_seconds()
