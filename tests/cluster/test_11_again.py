"""Scenario 11: uninstalled and installed again; and the client's address in the trace field."""

import random
import re
import time
from ipaddress import ip_address
from typing import Any

import pytest

from postroad_harness.cluster import kube
from postroad_harness.cluster.release import resource
from postroad_harness.cluster.report import settle
from postroad_harness.cluster.scene import BALANCED, Scene, ready
from postroad_harness.flow import Flow

WAITING = 300
FAST = 150.0  # messages in a second, where nothing but the messages is looked at
LATER = 2527  # a port of the far end that opens late


async def test_queue_and_objects_outlive_the_release(steady: Scene) -> None:
    relay = resource(
        *("Relay", steady.shop, "later"),
        destinations=["*"],
        smarthosts=[{"host": steady.place.address, "port": LATER}],
        tls={"mode": "None"},
        retry={"first": "5s", "factor": 1, "max": "5s", "lifetime": "1h", "delayWarning": "0s"},
    )
    domain = resource(
        *("Domain", steady.shop, "patient"),
        domain="patient.example",
        send={"relayRef": {"name": "later"}},
    )
    await kube.apply(relay, domain)
    for thing in (relay, domain):
        await ready(thing)
    waiting = await fill(steady)
    objects = await names(steady)
    await steady.release.uninstall()
    assert await names(steady) == objects
    began = time.monotonic()
    await steady.release.install()
    await steady.release.all_there()
    again = time.monotonic() - began
    await steady.find_ways()
    assert await names(steady) == objects
    await steady.listen(LATER)
    await steady.arrivals.wait_for(waiting.account, seconds=120)
    assert not waiting.arrivals.missing(waiting.account)
    async with steady.flow() as flow:
        await settle(
            "11. uninstall and install again with mail in the queue",
            flow,
            waited_in_the_queue=WAITING,
            installed_again=again,
        )


async def fill(scene: Scene) -> Flow:
    """Accept mail for a host that is not there."""
    async with scene.flow(("to@later.example",), sender="a@patient.example") as waiting:
        await waiting.reached(WAITING)
        await waiting.end()
    return waiting


async def names(scene: Scene) -> set[str]:
    """Return the names of all objects of ours in the tenants' namespaces."""
    found = set()
    for namespace in (scene.mail, scene.shop):
        words = ("get", "domains,relays,quotas,clients", "-n", namespace, "-o", "name")
        found |= {f"{namespace}/{line}" for line in (await kube.kubectl(*words)).out.split()}
    return found


async def test_the_clients_own_address_is_in_the_trace_field(steady: Scene) -> None:
    seen = steady.place.address
    async with steady.flow(rate=FAST) as flow:
        await settle("11b. the client's address in Received", flow, seen=seen)
    assert clients(steady, flow) == {seen}


@pytest.mark.parametrize("version", [1, 2])
async def test_the_proxied_address_is_in_the_trace_field(steady: Scene, version: int) -> None:
    ways = list((await steady.release.ways(steady.place, proxy=True))[0].values())

    async def connect() -> Any:
        reader, writer = await steady.place.connect(random.choice(ways))
        writer.write(header(version))
        return reader, writer

    scenario = f"11c. the client's address by PROXY version {version}"
    async with steady.flow(connect=connect, rate=FAST) as flow:
        await settle(scenario, flow, seen=BALANCED)
    assert clients(steady, flow) == {BALANCED}


def clients(scene: Scene, flow: Flow) -> set[str]:
    """Return the client addresses that the uppermost trace fields name, where one was kept."""
    found = set()
    kept = flow.account.accepted & scene.arrivals.contents.keys()
    assert len(kept) > len(flow.account.accepted) / 2
    for number in kept:
        field = scene.arrivals.contents[number].partition(b"\r\n\tby ")[0]
        match = re.search(rb"\[([0-9.]+)\]\)", field)
        assert match is not None, field
        found.add(match[1].decode())
    return found


def header(version: int) -> bytes:
    """Return a PROXY header that names BALANCED as the client."""
    if version == 1:
        return f"PROXY TCP4 {BALANCED} 192.0.2.1 40000 25\r\n".encode()
    ends = ip_address(BALANCED).packed + ip_address("192.0.2.1").packed
    ports = (40000).to_bytes(2, "big") + (25).to_bytes(2, "big")
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + ends + ports
