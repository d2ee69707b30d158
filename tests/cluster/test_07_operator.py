"""Scenario 7: the operator or the API server is down. Mail flows on; changes are applied later."""

import os
import signal
import time

from postroad_harness.cluster import kube
from postroad_harness.cluster.kube import Object, until
from postroad_harness.cluster.release import resource
from postroad_harness.cluster.report import promised, settle
from postroad_harness.cluster.scene import Scene, ready, wait

UNCHANGED = 5.0  # seconds: a longer gap is a change for mail


async def test_the_operator_is_away_and_catches_up(steady: Scene) -> None:
    late = resource(
        *("Client", steady.shop, "late"),
        networks=["192.0.2.99/32"],
        senders=["late@shop.example"],
    )
    await kube.kubectl(
        "delete", "client.postroad.dev/late", "-n", steady.shop, "--ignore-not-found"
    )
    async with steady.flow() as flow:
        await flow.reached(100)
        await steady.release.scale("operator", 0)
        await kube.apply(late)
        await flow.more(600)
        assert not kube.condition(await seen(late), "Ready"), "who wrote this status?"
        began = time.monotonic()
        await steady.release.scale("operator", 1)
        await ready(late)
        caught_up = time.monotonic() - began
        await settle("7. the operator away, then back", flow, caught_up=caught_up)


async def test_what_was_deleted_while_the_operator_was_away_leaves(steady: Scene) -> None:
    gone = resource(
        *("Quota", steady.shop, "none"),
        subject={"senderDomain": "shop.example"},
        limits=[{"messages": 0, "per": "1h"}],
    )
    await kube.apply(gone)
    await wait(gone, "Programmed")
    async with steady.flow() as flow:
        # Mail is refused while the quota stands, and is not once it is deleted.

        async def refused() -> bool:
            return any(said.startswith("451") for said in flow.replies)

        await until("a refusal by the quota", refused, seconds=30)
        assert not flow.account.accepted
        await steady.release.scale("operator", 0)
        await kube.kubectl("delete", "quota.postroad.dev/none", "-n", steady.shop)
        await steady.release.scale("operator", 1)
        await flow.more(100)
        await settle("7b. an object deleted while the operator was away", flow)


async def test_the_api_server_is_away(steady: Scene, api_server: int) -> None:
    later = resource(
        *("Client", steady.shop, "later"),
        networks=["192.0.2.98/32"],
        senders=["later@shop.example"],
    )
    async with steady.flow(rate=100.0) as flow:
        await flow.reached(100)
        os.kill(api_server, signal.SIGSTOP)
        try:
            await flow.more(1800)
        finally:
            os.kill(api_server, signal.SIGCONT)
        await steady.release.all_there()
        await kube.apply(later)
        await ready(later)
        figures = await settle("7c. the API server away, then back", flow)
    assert not [said for said in flow.replies if said[0].isdigit()], "somebody was refused"
    assert figures.longest_gap < promised(UNCHANGED)


async def seen(thing: Object) -> Object:
    """Return an object of ours as the API server has it."""
    name = f"{thing['kind'].lower()}.postroad.dev/{thing['metadata']['name']}"
    return await kube.get("-n", thing["metadata"]["namespace"], name)
