"""The operator as a process, with a real API server and nats-server, as users see it."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import aiohttp
import pytest

from postroad.manifests.objects import Kind
from postroad.operator.kubernetes.client import ApiRefused, Kube, kind_path, object_path
from postroad.policy.model import ObjectKey
from postroad.policy.secrets.seal import Keyrings
from postroad.policy.snapshot import Snapshot
from postroad.queue.configuration import Configuration
from postroad.spool.interface import Spool
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.options import SpoolOptions
from postroad.testing.children import dies_with_us
from postroad.testing.keys import keyrings_in
from postroad.testing.patience import patient
from postroad.testing.peers.dns_server import Zone, ZoneFault
from postroad.testing.queue.nats_server import NatsServer

pytestmark = [pytest.mark.nats, pytest.mark.timeout(120)]

Object = dict[str, Any]
T = TypeVar("T")
_LOOK = 0.05  # seconds between two looks at the API server


@dataclass
class Cluster:
    """An API server, a nats-server, operators, and a process that follows the configuration."""

    kube: Kube
    nats: NatsServer
    namespace: str
    folder: Path
    environment: dict[str, str]
    keyrings: Keyrings
    operators: list[asyncio.subprocess.Process] = field(default_factory=list)
    spools: list[Spool] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start_operator(self, name: str = "one", **more: str) -> asyncio.subprocess.Process:
        """Start an operator that uses the port of its name."""
        log = (self.folder / f"{name}.log").open("ab")
        with log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-Im", "postroad.operator"),
                env={**os.environ, **self.environment, "POSTROAD_POD_NAME": name, **more},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=dies_with_us(),
            )
        self.operators.append(process)
        return process

    async def follow(self, process: str = "ingress-0") -> Configuration:
        """Be a process of the data plane."""
        async with asyncio.timeout(patient(20)):
            options = SpoolOptions(servers=(self.nats.url,), role="ingress", process=process)
            spool = await _until(lambda: _connected(options))
        self.spools.append(spool)
        configuration = Configuration(spool, self.keyrings)
        self.tasks.append(asyncio.create_task(configuration.run()))
        return configuration

    async def apply(self, kind: Kind, name: str, spec: Object) -> None:
        """Make or change an object."""
        key = ObjectKey(self.namespace, name)
        body = {
            "apiVersion": "postroad.dev/v1alpha1",
            "kind": str(kind),
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        }
        try:
            await self.kube.request("POST", kind_path(kind, self.namespace), body=body)
        except ApiRefused as error:
            if error.status != 409:
                raise
            there = await self.kube.request("GET", object_path(kind, key))
            body["metadata"] = there["metadata"]
            await self.kube.request("PUT", object_path(kind, key), body=body)

    async def get(self, kind: Kind, name: str) -> Object:
        """Return an object."""
        return await self.kube.request("GET", object_path(kind, ObjectKey(self.namespace, name)))

    async def condition(
        self, kind: Kind, name: str, of: str, status: str, *, seconds: float = 20
    ) -> Object:
        """Wait for a condition of the object as it is now, and return it."""
        last: Object = {}
        try:
            async with asyncio.timeout(patient(seconds)):
                while True:
                    last = await self.get(kind, name)
                    for each in last.get("status", {}).get("conditions", ()):
                        fresh = each["observedGeneration"] == last["metadata"]["generation"]
                        if each["type"] == of and each["status"] == status and fresh:
                            return dict(each)
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            said = "\n".join(path.read_text()[-3000:] for path in self.folder.glob("*.log"))
            raise AssertionError(f"{last.get('status')}\n{said}") from None

    async def secret(self, name: str, *, label: str = "login", **values: str) -> None:
        """Make a Secret for logins, or change it."""
        path = f"/api/v1/namespaces/{self.namespace}/secrets"
        metadata = {"name": name, "labels": {"postroad.dev/secret-type": label}}
        body = {"metadata": metadata, "stringData": values}
        with contextlib.suppress(ApiRefused):
            await self.kube.request("DELETE", f"{path}/{name}")
        await self.kube.request("POST", path, body=body)

    async def end(self) -> None:
        """End all of it."""
        for process in self.operators:
            if process.returncode is None:
                process.kill()
                await process.wait()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for spool in self.spools:
            await spool.close()


async def _connected(options: SpoolOptions) -> Spool | None:
    try:
        return await connect(options)
    except Exception:
        return None


async def _until(look: Callable[[], Awaitable[T | None]]) -> T:
    while True:
        found = await look()
        if found is not None:
            return found
        await asyncio.sleep(_LOOK)


async def in_force(
    configuration: Configuration, fits: Callable[[Snapshot], bool], seconds: float = 20
) -> Snapshot:
    """Wait for a Snapshot that fits."""
    async with asyncio.timeout(patient(seconds)):
        while (now := configuration.current) is None or not fits(now):
            await configuration.changed()
        return now


@pytest.fixture
async def cluster(kube: Kube, api_server: Any, tmp_path: Path) -> AsyncIterator[Cluster]:
    namespace = f"test-{uuid4().hex[:8]}"
    await kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": namespace}})
    async with NatsServer(tmp_path) as nats:
        environment = {
            "KUBECONFIG": str(api_server.kubeconfig),
            "POSTROAD_NATS_URL": nats.url,
            "POSTROAD_INGRESS_KEY_FILE": str(tmp_path / "ingress.key"),
            "POSTROAD_DELIVERY_KEY_FILE": str(tmp_path / "delivery.key"),
            "POSTROAD_LEASE_NAMESPACE": namespace,
            "POSTROAD_WATCH_NAMESPACES": namespace,
            "POSTROAD_DNS_CHECKS": "false",
            "POSTROAD_QUEUE_SHARDS": "1",
            "POSTROAD_QUEUE_LANES": "2",
        }
        cluster = Cluster(kube, nats, namespace, tmp_path, environment, keyrings_in(tmp_path))
        yield cluster
        await cluster.end()


RELAY: Object = {"mx": {}}
DOMAIN: Object = {"domain": "shop.example", "send": {"relayRef": {"name": "out"}}}


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


async def test_a_secret_is_missed_then_found_then_followed(cluster: Cluster) -> None:
    await cluster.start_operator()
    configuration = await cluster.follow()
    await cluster.apply(
        Kind.CLIENT, "web", {"auth": {"secretRef": {"name": "login"}}, "senders": ["*@a.example"]}
    )
    found = await cluster.condition(Kind.CLIENT, "web", "SecretsResolved", "False")
    assert found["reason"] == "SecretNotFound"
    await cluster.secret("login", username="web", password="one")
    await cluster.condition(Kind.CLIENT, "web", "Ready", "True")
    first = await in_force(configuration, lambda now: "web" in now.clients_by_username)
    before = first.clients_by_username["web"].verifier
    await cluster.secret("login", username="web", password="two")
    await in_force(
        configuration,
        lambda now: (
            "web" in now.clients_by_username and now.clients_by_username["web"].verifier != before
        ),
        5,
    )


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
    ports = [free_port() for _ in range(2)]
    first = await cluster.start_operator("one", POSTROAD_HTTP=f"127.0.0.1:{ports[0]}")
    configuration = await cluster.follow()
    async with asyncio.timeout(patient(20)):
        await _until(lambda: backlog(ports[0], 200))
    await cluster.start_operator("two", POSTROAD_HTTP=f"127.0.0.1:{ports[1]}")
    async with asyncio.timeout(patient(20)):
        assert await _until(lambda: ready(ports[1]))
        said = await _until(lambda: backlog(ports[0], 200))
        none = dict.fromkeys(("ready", "readyTransactional", "readyBulk"), 0)
        assert said == {**none, "pools": {"default": 0}}
        # Who scales delivery need not know which of them leads.
        assert await _until(lambda: backlog(ports[1], 200)) == said
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


async def test_a_secret_is_used_once_its_owner_has_labelled_it(cluster: Cluster) -> None:
    await cluster.start_operator()
    configuration = await cluster.follow()
    await cluster.secret("login", label="other", username="web", password="one")
    hop = {"smarthosts": [{"host": "smtp.example"}], "auth": {"secretRef": {"name": "login"}}}
    await cluster.apply(Kind.RELAY, "out", hop)
    refused = await cluster.condition(Kind.RELAY, "out", "SecretsResolved", "False")
    assert refused["reason"] == "SecretNotOptedIn"

    path = f"/api/v1/namespaces/{cluster.namespace}/secrets/login"
    merge = {"Content-Type": "application/merge-patch+json"}

    async def owner_writes(**metadata: Object) -> None:
        await cluster.kube.request("PATCH", path, body={"metadata": metadata}, headers=merge)

    await owner_writes(labels={"postroad.dev/secret-type": "login"})
    # The operator's watch sees it from now on.
    async with asyncio.timeout(patient(20)):
        while refused["reason"] != "HostNotAllowed":
            refused = await cluster.condition(Kind.RELAY, "out", "SecretsResolved", "False")
            await asyncio.sleep(_LOOK)
    await owner_writes(annotations={"postroad.dev/hosts": "smtp.example"})
    await in_force(configuration, lambda now: bool(now.relays))
    await cluster.condition(Kind.RELAY, "out", "SecretsResolved", "True")
    await owner_writes(labels={"postroad.dev/secret-type": None})
    taken = await cluster.condition(Kind.RELAY, "out", "SecretsResolved", "False")
    assert taken["reason"] == "SecretNotOptedIn"


async def test_labels_of_a_namespace_are_followed(cluster: Cluster) -> None:
    guests = f"{cluster.namespace}-guests"
    await cluster.kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": guests}})
    await cluster.start_operator(
        POSTROAD_WATCH_NAMESPACES=f"{cluster.namespace},{guests}",
    )
    configuration = await cluster.follow()
    selector = {"from": "Selector", "selector": {"matchLabels": {"mail": "yes"}}}
    await cluster.apply(Kind.RELAY, "out", {**RELAY, "allowedNamespaces": selector})
    await in_force(configuration, lambda now: bool(now.relays))
    host, cluster.namespace = cluster.namespace, guests
    ref = {"name": "out", "namespace": host}
    await cluster.apply(Kind.DOMAIN, "shop", {**DOMAIN, "send": {"relayRef": ref}})
    refused = await cluster.condition(Kind.DOMAIN, "shop", "Accepted", "False")
    assert refused["reason"] == "NotAllowedByRelay"
    for label, status in (("yes", "True"), (None, "False")):
        await cluster.kube.request(
            "PATCH",
            f"/api/v1/namespaces/{guests}",
            body={"metadata": {"labels": {"mail": label}}},
            headers={"Content-Type": "application/merge-patch+json"},
        )
        await cluster.condition(Kind.DOMAIN, "shop", "Accepted", status, seconds=5)


def free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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


async def test_others_mail_comes_by_a_grant_or_by_the_dns_and_stays_while_that_is_away(
    cluster: Cluster,
) -> None:
    # Over 5 s: three operators, one after the other, each of which asks the DNS anew.
    mail = f"{cluster.namespace}-mail"
    await cluster.kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": mail}})
    others = f"{cluster.namespace},{cluster.namespace}-app"  # more than one: none is trusted
    async with Zone({}) as zone:
        more = {
            "POSTROAD_LEASE_NAMESPACE": mail,
            "POSTROAD_WATCH_NAMESPACES": others,
            "POSTROAD_HOSTNAME": "Relay.example",
            "POSTROAD_DNS_CHECKS": "true",
            "POSTROAD_RESOLVER": "{}:{}".format(*zone.address),
        }
        operator = await cluster.start_operator("one", **more)
        configuration = await cluster.follow()

        async def start_again(before: asyncio.subprocess.Process) -> asyncio.subprocess.Process:
            before.send_signal(signal.SIGKILL)
            await before.wait()
            return await cluster.start_operator("one", **more)

        async def claimed(status: str, reason: str) -> None:
            while True:
                found = await cluster.condition(Kind.DOMAIN, "shop", "DomainClaimed", status)
                if found["reason"] == reason:
                    break
            proven = status == "True"
            await in_force(
                configuration,
                lambda now: (now.domain_for("shop.example", "app") is not None) is proven,
            )
            assert await cluster.condition(Kind.DOMAIN, "shop", "Ready", "True")

        await cluster.apply(Kind.DOMAIN, "shop", {"domain": "shop.example", "send": {}})
        await claimed("False", "NotProven")

        grants = kind_path(Kind.DOMAIN_GRANT, mail)
        await cluster.kube.request("POST", grants, body=_grant_for(cluster.namespace))
        await claimed("True", "Granted")
        grant = await _until(lambda: _with_status(cluster.kube, f"{grants}/g"))
        assert grant["conditions"][0]["status"] == "True"
        await cluster.kube.request("DELETE", f"{grants}/g")
        await claimed("False", "NotProven")

        zone.table["_postroad.shop.example"] = [
            f'TXT "relay=relay.example; namespace={cluster.namespace}"'
        ]
        operator = await start_again(operator)
        await claimed("True", "TXTRecord")

        zone.table["_postroad.shop.example"] = ZoneFault.SERVFAIL
        await start_again(operator)
        await claimed("True", "NotConfirmed")


def _grant_for(namespace: str) -> Object:
    return {
        "apiVersion": "postroad.dev/v1alpha1",
        "kind": "DomainGrant",
        "metadata": {"name": "g"},
        "spec": {"domains": ["*.example"], "namespaces": [namespace]},
    }


async def _with_status(kube: Kube, path: str) -> Object | None:
    status = (await kube.request("GET", path)).get("status")
    return dict(status) if status else None
