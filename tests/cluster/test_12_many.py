"""Scenario 12: two thousand Domains, and how soon a change is in force."""

import asyncio
import json
import re
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from postroad_harness.cluster import kube
from postroad_harness.cluster.kube import Object, kubectl, until
from postroad_harness.cluster.release import make_namespace, resource
from postroad_harness.cluster.report import promised, settle
from postroad_harness.cluster.scene import Scene, ready

DOMAINS = 2000
PROGRAMMED_WITHIN = 60.0  # seconds after `kubectl apply`
OPERATOR_MB = 200
CHANGES = 50
IN_FORCE_WITHIN = 3.0  # seconds, at the 99th percentile


async def test_two_thousand_domains(steady: Scene) -> None:
    namespace = f"{steady.release.namespace}-many"
    await make_namespace(namespace)
    relay = {"name": "out", "namespace": steady.mail}
    domains = [
        resource(
            *("Domain", namespace, f"d{n}"), domain=f"d{n}.many.example", send={"relayRef": relay}
        )
        for n in range(DOMAINS)
    ]
    async with steady.flow() as flow:
        began = time.monotonic()
        await kubectl("create", "-f", "-", stdin=kube.listed(domains), seconds=200)
        created = time.monotonic()

        async def programmed() -> bool:
            return await count_programmed(namespace) == DOMAINS

        await until("2,000 Domains Programmed", programmed, seconds=200, every=2)
        done = time.monotonic()
        memory = await operator_memory(steady)
        await kubectl("delete", "namespace", namespace, "--timeout=200s", seconds=210)
        await settle(
            "12. 2,000 Domains",
            flow,
            apply_took=created - began,
            programmed_after_apply=done - created,
            operator_megabytes=memory,
        )
    assert done - created <= promised(PROGRAMMED_WITHIN)
    assert memory < OPERATOR_MB


async def count_programmed(namespace: str) -> int:
    """Return how many Domains of a namespace are Programmed."""
    column = '{range .items[*]}{.status.conditions[?(@.type=="Programmed")].status}{"\\n"}{end}'
    words = ("get", "domains.postroad.dev", "-n", namespace, "-o", f"jsonpath={column}")
    return (await kubectl(*words)).out.split().count("True")


async def operator_memory(scene: Scene) -> int:
    """Return the resident memory of the operator, in megabytes."""
    (pod,) = await scene.release.ready_pods("operator")
    page = await scene.release.page(pod, "metrics")
    match = re.search(r"^process_resident_memory_bytes (\S+)$", page, re.MULTILINE)
    assert match is not None
    return round(float(match[1]) / 1e6)


async def test_a_change_is_in_force_in_all_pods_within_seconds(steady: Scene) -> None:
    client = resource(
        *("Client", steady.shop, "changing"), networks=["192.0.2.98/32"], senders=["c@shop.example"]
    )
    await kube.apply(client)
    await ready(client)
    took: list[float] = []
    async with steady.flow() as flow, generations(client) as programmed:
        for number in range(CHANGES):
            client["spec"]["senders"] = [f"c{number}@shop.example"]
            began = time.monotonic()
            await kube.apply(client)
            wanted = (await named(client))["metadata"]["generation"]
            async with asyncio.timeout(30):
                while await anext(programmed) < wanted:
                    pass
            took.append(time.monotonic() - began)
        took.sort()
        await settle(
            "13. 50 changes, each until all pods have it",
            flow,
            median=took[CHANGES // 2],
            slowest=took[-1],
        )
    assert took[-1] <= promised(IN_FORCE_WITHIN)


async def named(thing: Object) -> Object:
    """Return an object of ours as the API server has it."""
    name = f"{thing['kind'].lower()}.postroad.dev/{thing['metadata']['name']}"
    return await kube.get("-n", thing["metadata"]["namespace"], name)


@asynccontextmanager
async def generations(thing: Object) -> AsyncIterator[AsyncIterator[int]]:
    """Give the generations that the data plane has acknowledged, each as soon as status says so."""
    name = f"{thing['kind'].lower()}.postroad.dev/{thing['metadata']['name']}"
    column = (
        '{.status.conditions[?(@.type=="Programmed")].status} '
        '{.status.conditions[?(@.type=="Programmed")].observedGeneration}{"\\n"}'
    )
    process = await asyncio.create_subprocess_exec(
        *("kubectl", "get", "-n", thing["metadata"]["namespace"], name, "--watch"),
        *("-o", f"jsonpath={column}"),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None

    async def read(stream: asyncio.StreamReader) -> AsyncIterator[int]:
        async for line in stream:
            status, _, generation = line.decode().strip().partition(" ")
            if status == "True":
                yield json.loads(generation)

    try:
        yield read(process.stdout)
    finally:
        process.kill()
        await process.wait()
