"""The operator as a process, with a real API server and nats-server, as users see it."""

import asyncio
import json
import signal
from typing import Any

import aiohttp
import pytest

from postroad.manifests.objects import Kind
from postroad.operator.kubernetes.client import kind_path, object_path
from postroad.policy.model import ObjectKey
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import free_ports
from postroad_harness.cluster.operators import (
    DOMAIN,
    RELAY,
    Cluster,
    Object,
    in_force,
    until_found,
)

pytestmark = [pytest.mark.nats, pytest.mark.timeout(120)]


async def test_objects_are_in_force_and_say_so(cluster: Cluster) -> None:
    await cluster.start_operator()
    configuration = await cluster.follow()
    await cluster.apply(Kind.RELAY, "out", RELAY)
    await cluster.apply(Kind.DOMAIN, "shop", DOMAIN)
    ready = await cluster.condition(Kind.DOMAIN, "shop", "Ready", "True")
    assert ready["reason"] == "Programmed"
    await in_force(configuration, lambda now: "shop.example" in now.domains)

    # A change is in force soon, and Ready keeps its age.
    started = asyncio.get_running_loop().time()
    await cluster.apply(Kind.DOMAIN, "shop", {**DOMAIN, "allowedNamespaces": {"from": "All"}})
    await in_force(configuration, lambda now: now.domains["shop.example"].admits is None, 3)
    assert asyncio.get_running_loop().time() - started < 3
    again = await cluster.condition(Kind.DOMAIN, "shop", "Ready", "True")
    assert again["lastTransitionTime"] == ready["lastTransitionTime"]

    events = await cluster.kube.request(
        "GET", f"/apis/events.k8s.io/v1/namespaces/{cluster.namespace}/events"
    )
    told = [(e["regarding"]["kind"], e["type"], e["reason"]) for e in events["items"]]
    assert sorted(told) == [
        ("Domain", "Normal", "Programmed"),
        ("Relay", "Normal", "Programmed"),
    ]


async def test_without_a_data_plane_programmed_is_not_known(cluster: Cluster) -> None:
    await cluster.start_operator()
    await cluster.apply(Kind.RELAY, "out", RELAY)
    found = await cluster.condition(Kind.RELAY, "out", "Programmed", "Unknown")
    assert found["reason"] == "NoProcesses"


async def test_a_restart_removes_nothing_and_what_went_bad_keeps_its_last_good_form(
    cluster: Cluster,
) -> None:
    first = await cluster.start_operator()
    configuration = await cluster.follow()
    await cluster.secret("login", username="web", password="one")
    await cluster.apply(Kind.RELAY, "out", RELAY)
    await cluster.apply(Kind.DOMAIN, "shop", DOMAIN)
    await cluster.apply(
        Kind.CLIENT, "web", {"auth": {"secretRef": {"name": "login"}}, "senders": ["*@a.example"]}
    )
    for kind, name in ((Kind.DOMAIN, "shop"), (Kind.CLIENT, "web")):
        await cluster.condition(kind, name, "Ready", "True")
    before = await in_force(configuration, lambda now: bool(now.clients and now.domains))
    versions = [(await cluster.get(k, n))["metadata"]["resourceVersion"] for k, n in OBJECTS]
    first.send_signal(signal.SIGKILL)
    await first.wait()

    # A new process with nothing in its memory: nothing is written anew, neither here nor there.
    second = await cluster.start_operator("one")
    await cluster.apply(Kind.RELAY, "other", RELAY)
    await cluster.condition(Kind.RELAY, "other", "Ready", "True")
    after = await in_force(configuration, lambda now: len(now.relays) == 2)
    assert after.domains == before.domains
    assert after.clients == before.clients
    assert versions == [
        (await cluster.get(k, n))["metadata"]["resourceVersion"] for k, n in OBJECTS
    ]
    second.send_signal(signal.SIGKILL)
    await second.wait()

    # While nobody looks, a Secret goes; whoever starts next says so, and the login still works.
    path = f"/api/v1/namespaces/{cluster.namespace}/secrets/login"
    await cluster.kube.request("DELETE", path)
    await cluster.start_operator("one")
    stale = await cluster.condition(Kind.CLIENT, "web", "Ready", "False")
    assert stale["reason"] == "Stale"
    assert configuration.current is not None
    assert configuration.current.clients == before.clients


OBJECTS = ((Kind.RELAY, "out"), (Kind.DOMAIN, "shop"), (Kind.CLIENT, "web"))


async def test_what_is_deleted_leaves_what_is_in_force(cluster: Cluster) -> None:
    first = await cluster.start_operator()
    configuration = await cluster.follow()
    for name in ("one", "two", "three"):
        await cluster.apply(Kind.RELAY, name, RELAY)
    await in_force(configuration, lambda now: len(now.relays) == 3)
    await cluster.kube.request(
        "DELETE", object_path(Kind.RELAY, ObjectKey(cluster.namespace, "one"))
    )
    await in_force(configuration, lambda now: len(now.relays) == 2)
    first.send_signal(signal.SIGKILL)
    await first.wait()
    await cluster.kube.request(
        "DELETE", object_path(Kind.RELAY, ObjectKey(cluster.namespace, "two"))
    )
    await cluster.start_operator("one")
    await in_force(configuration, lambda now: [key.name for key in now.relays] == ["three"])


async def test_one_of_two_operators_leads_and_the_other_takes_over(cluster: Cluster) -> None:
    ports = free_ports(2)
    first = await cluster.start_operator("one", POSTROAD_HTTP=f"127.0.0.1:{ports[0]}")
    configuration = await cluster.follow()
    async with asyncio.timeout(patient(20)):
        await until_found(lambda: backlog(ports[0], 200))
    await cluster.start_operator("two", POSTROAD_HTTP=f"127.0.0.1:{ports[1]}")
    async with asyncio.timeout(patient(20)):
        assert await until_found(lambda: ready(ports[1]))
        said = await until_found(lambda: backlog(ports[0], 200))
        none = dict.fromkeys(("ready", "readyTransactional", "readyBulk"), 0)
        assert said == {**none, "pools": {"default": 0}}
        # Who scales delivery need not know which of them leads.
        assert await until_found(lambda: backlog(ports[1], 200)) == said
    started = asyncio.get_running_loop().time()
    first.terminate()
    assert await first.wait() == 0
    await cluster.apply(Kind.RELAY, "out", RELAY)
    await in_force(configuration, lambda now: bool(now.relays))
    assert asyncio.get_running_loop().time() - started < 10


async def test_the_api_server_away_changes_nothing_and_is_found_again(
    cluster: Cluster, api_server: Any
) -> None:
    await cluster.start_operator()
    configuration = await cluster.follow()
    await cluster.apply(Kind.RELAY, "out", RELAY)
    await cluster.condition(Kind.RELAY, "out", "Ready", "True")
    api_server.kill_apiserver()
    await asyncio.sleep(3)  # that nothing happens is no event to wait for
    assert configuration.current is not None
    assert len(configuration.current.relays) == 1
    api_server.start_apiserver()
    await api_server.ready(kind_path(Kind.RELAY, None))
    await cluster.apply(Kind.RELAY, "other", RELAY)
    await in_force(configuration, lambda now: len(now.relays) == 2, 30)
    assert cluster.operators[0].returncode is None


async def ready(port: int) -> bool | None:
    return await answered(port, "readyz", 200) is not None or None


async def backlog(port: int, status: int) -> Object | None:
    return await answered(port, "backlog", status)


async def answered(port: int, page: str, status: int) -> Object | None:
    try:
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://127.0.0.1:{port}/{page}") as answer,
        ):
            content: Object = json.loads(await answer.text())
            return content if answer.status == status else None
    except aiohttp.ClientError:
        return None
