"""Scenario 6: pods are deleted without grace, and the queue loses its quorum."""

from postroad_harness.cluster.kube import until
from postroad_harness.cluster.report import promised, settle
from postroad_harness.cluster.scene import Scene

MOVES_AGAIN = 30.0  # seconds


async def test_a_pod_of_each_kind_is_deleted_without_grace(steady: Scene) -> None:
    release = steady.release
    async with steady.flow() as flow:
        await flow.reached(100)
        for component in ("ingress", "delivery", "operator"):
            await release.delete_at_once((await release.ready_pods(component))[0])
            await flow.more(100)
            await release.has(component, release.replicas[component])
        figures = await settle("6a. a pod of each kind deleted without grace", flow)
    assert figures.longest_gap < promised(MOVES_AGAIN)


async def test_nats_pods_are_deleted_without_grace_one_by_one(steady: Scene) -> None:
    release = steady.release
    async with steady.flow() as flow:
        await flow.reached(100)
        for pod in await release.ready_pods("nats"):
            await release.delete_at_once(pod)
            await flow.more(100)
            await release.all_there()
        figures = await settle("6b. NATS pods deleted without grace, one by one", flow)
    assert figures.longest_gap < promised(MOVES_AGAIN)


async def test_without_quorum_clients_hear_451_and_it_recovers_by_itself(steady: Scene) -> None:
    release = steady.release
    async with steady.flow() as flow:
        await flow.reached(200)
        await release.kubectl("scale", release.workload("nats"), "--replicas=1")

        async def refused() -> bool:
            return any(said.startswith("4") for said in flow.replies)

        await until("a temporary refusal", refused, seconds=120)
        await release.kubectl("scale", release.workload("nats"), "--replicas=3")
        await release.all_there()
        await flow.more(300, seconds=120)
        await settle("6c. NATS without quorum, then with", flow)
