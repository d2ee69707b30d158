"""Scenario 9: three ingress pods count one quota together."""

from postroad_harness.cluster import kube
from postroad_harness.cluster.kube import until
from postroad_harness.cluster.release import resource
from postroad_harness.cluster.report import settle
from postroad_harness.cluster.scene import Scene, wait

MOST = 300


async def test_a_quota_is_reached_seen_and_never_exceeded(steady: Scene) -> None:
    quota = resource(
        *("Quota", steady.shop, "limited"),
        subject={"senderDomain": "limited.example"},
        limits=[{"messages": MOST, "per": "1d"}],
    )
    await kube.apply(quota)
    await wait(quota, "Programmed")
    await steady.release.scale("ingress", 3)
    async with steady.flow() as flow, steady.flow(sender="a@limited.example") as limited:
        await limited.reached(MOST, seconds=60)

        async def shown() -> bool:
            usage = (await quota_of(steady))["status"].get("usage", [])
            return bool(usage) and usage[0]["used"] == usage[0]["max"] == MOST

        # Three hundred more are tried while the status catches up, and none gets through.
        await until("the quota's use in its status", shown, seconds=60)
        figures = await limited.settle(MOST)
        refused = sum(n for said, n in limited.replies.items() if said.startswith("451"))
        await settle(
            "9. a quota of 300 with 3 ingress pods",
            flow,
            accepted_under_the_quota=figures.accepted,
            refused_by_it=refused,
        )
    assert figures.accepted == MOST
    assert refused > 0
    assert figures.lost == 0


async def quota_of(scene: Scene) -> kube.Object:
    """Return the Quota as the API server has it."""
    return await kube.get("-n", scene.shop, "quota.postroad.dev/limited")
