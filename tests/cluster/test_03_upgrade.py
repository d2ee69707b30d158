"""Scenario 3: `helm upgrade` rolls every pod; old and new delivery pods work side by side."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from postroad_harness.cluster.kube import until
from postroad_harness.cluster.release import COMPONENTS, Release
from postroad_harness.cluster.report import settle
from postroad_harness.cluster.scene import Scene

A_MINUTE = 60.0


async def test_an_upgrade_that_rolls_every_pod(steady: Scene) -> None:
    release = steady.release
    before = await uids(release)
    async with steady.flow() as flow:
        await flow.reached(200)
        # With four of them the roll has a middle at which it can be held.
        await release.scale("delivery", 4)
        await release.upgrade(**rolled(str(time.time())))
        await until("old and new side by side", lambda: both_forms(release), seconds=90)
        async with held(release, "delivery"):
            await flow.more(int(A_MINUTE * flow.rate), seconds=120)
            together = await both_forms(release)
        await release.kubectl("rollout", "status", release.workload("delivery"))
        await release.upgrade(delivery={"replicas": 2})
        await release.all_there()
        await flow.more(100)
        await settle("3. helm upgrade of every pod, a minute of old beside new", flow)
    assert together
    assert not before & await uids(release), "some pods were not rolled"


@asynccontextmanager
async def held(release: Release, component: str) -> AsyncIterator[None]:
    """Pause a rollout. It goes on whatever happens, or all later scenarios would wait for it."""
    await release.kubectl("rollout", "pause", release.workload(component))
    try:
        yield
    finally:
        await release.kubectl("rollout", "resume", release.workload(component))


def rolled(stamp: str) -> dict[str, Any]:
    """Return values that change every pod, and let delivery have four."""
    values: dict[str, Any] = {
        each: {"podAnnotations": {"postroad.dev/rolled": stamp}} for each in COMPONENTS
    }
    values["delivery"]["replicas"] = 4
    return values


async def uids(release: Release) -> set[str]:
    """Return the identities of all pods of the release."""
    return {pod["metadata"]["uid"] for each in COMPONENTS for pod in await release.pods(each)}


async def both_forms(release: Release) -> bool:
    """Say whether ready delivery pods of two forms are there."""
    pods = await release.ready_pods("delivery")
    return len({pod["metadata"]["labels"]["pod-template-hash"] for pod in pods}) > 1
