"""Scenario 1: from nothing to the first message, and what the API server and Helm refuse."""

import time

import pytest

from postroad_harness.cluster import kube, report
from postroad_harness.cluster.kube import CommandFailed, kubectl
from postroad_harness.cluster.report import settle
from postroad_harness.cluster.scene import BY_MX, Scene, ready
from postroad_harness.flow import MESSAGES

FROM_NOTHING = ("--ignore-not-found", "--timeout=180s")


@pytest.fixture
async def nothing(scene: Scene) -> Scene:
    """A cluster without a release, its queue and its tenants."""
    if await scene.release.is_installed():
        await scene.release.uninstall()
    for namespace in (scene.shop, scene.mail, scene.release.namespace):
        await kubectl("delete", "namespace", namespace, *FROM_NOTHING, seconds=190)
    return scene


async def test_a_typo_in_the_values_is_refused_with_its_key(nothing: Scene) -> None:
    await nothing.prepare()
    values = {**nothing.release.values, "ingres": {"replicas": 9}}
    correct, nothing.release.values = nothing.release.values, values
    try:
        with pytest.raises(CommandFailed, match="ingres"):
            await nothing.release.install()
    finally:
        nothing.release.values = correct
    assert not await nothing.release.is_installed()


async def test_from_helm_install_to_the_first_delivery(nothing: Scene) -> None:
    scene = nothing
    await scene.prepare()
    begin = time.monotonic()
    await scene.release.install()
    installed = time.monotonic() - begin
    await kube.apply(*scene.objects())
    for thing in scene.objects():
        await ready(thing)
    declared = time.monotonic() - begin
    await scene.find_ways()
    async with scene.flow(sessions=1) as first:
        figures = await first.settle(1)
    delivered = time.monotonic() - begin
    assert figures.delivered >= 1
    async with scene.flow() as flow, scene.flow((BY_MX,), sender="news@direct.example") as by_mx:
        await by_mx.reached(200)
        assert (await by_mx.settle(200)).lost == 0
        await settle(
            f"1. install, first message, {MESSAGES:,} more, some by MX",
            flow,
            installed=installed,
            objects_ready=declared,
            first_delivery=delivered,
        )


async def test_the_users_of_the_release_can_look_at_it(steady: Scene) -> None:
    shown = await kubectl("get", "domains,relays,quotas,clients", "-n", steady.shop)
    assert "shop.example" in shown.out
    assert "True" in shown.out
    status = await steady.release.command("status")
    assert "accepting mail" in status
    await steady.release.test()
    report.record("1b. kubectl get, postroad status, helm test", None)
