"""From events to the published configuration and its status: queue in memory, small API."""

import asyncio
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from postroad.manifests.compiler.claims import Claims
from postroad.operator.cache.informer import Informer
from postroad.operator.cache.store import Store
from postroad.operator.configuration.acknowledgements import Acknowledgements
from postroad.operator.configuration.password_hashing import AT_ONCE
from postroad.operator.configuration.publisher import ConfigurationPublisher
from postroad.operator.kubernetes.client import ApiAccess, Kube
from postroad.operator.status.controller import StatusController
from postroad.operator.status.reconcile import Facts
from postroad.operator.status.writer import StatusWriter
from postroad.policy.model import ScramVerifier
from postroad.policy.secrets.verifiers import Unhashed, Verifiers
from postroad.queue.configuration import Configuration
from postroad.spool.errors import RecordTooLarge
from postroad.spool.memory.agreement import MemoryConfig
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.testing.keys import keyrings
from postroad.testing.patience import patient
from postroad_harness.setups.operator_api import Api, Object

KEYRINGS = keyrings()


@dataclass
class Scene:
    """An operator's inner parts, and a process of the data plane."""

    api: Api
    informer: Informer
    spool: MemorySpool
    configuration: Configuration
    tasks: list[asyncio.Task[Any]]

    def event(self, kind: str, raw: Object, type_: str = "MODIFIED") -> None:
        """Tell of an object, as a watch does."""
        self.informer.event(kind, type_, raw)


@pytest.fixture
async def scene(unused_tcp_port: int, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    api = Api()
    runner = web.AppRunner(api.app(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    kube = Kube(lambda: ApiAccess(server=f"http://127.0.0.1:{unused_tcp_port}"))
    cluster = MemoryCluster()
    spool = MemorySpool(cluster, role="operator")
    configuration = Configuration(MemorySpool(cluster, role="ingress"), KEYRINGS)
    store = Store()
    statuses = StatusWriter(kube, store, instance="test")
    informer = Informer(
        kube,
        store,
        namespaces=(),
        resync=timedelta(minutes=10),
        declared=lambda: publisher.wake(),
        told=lambda reference: judge.wake(reference),
    )

    def published() -> None:
        acknowledgements.look()
        judge.wake()

    publisher = ConfigurationPublisher(
        *(store, informer, spool, KEYRINGS, published),
        claims=Claims,
        repair=timedelta(milliseconds=200),
        hashed_at_once=getattr(request, "param", AT_ONCE),
    )
    acknowledgements = Acknowledgements(spool, publisher, lambda: judge.wake())
    judge = StatusController(
        store,
        statuses,
        lambda: Facts(
            compiled=publisher.compiled,
            generations=publisher.generations,
            serving=acknowledgements.serving,
            patient=acknowledgements.patient,
            dns_checks=False,
        ),
    )
    await informer.list_first()
    parts = (configuration, publisher, acknowledgements, judge, statuses)
    tasks = [asyncio.create_task(part.run()) for part in parts]
    yield Scene(api, informer, spool, configuration, tasks)
    assert not [task for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await kube.close()
    await runner.cleanup()


async def test_a_status_is_written_once_with_what_is_final(scene: Scene) -> None:
    for number in range(50):
        scene.event("Relay", scene.api.put("relays", f"r{number}", {"mx": {}}))
    for number in range(50):
        await scene.api.until_ready("relays", f"r{number}", "True", "Programmed")
    assert sorted(scene.api.writes) == sorted(("relays", f"r{number}") for number in range(50))
    async with asyncio.timeout(patient(10)), scene.api.changed:
        await scene.api.changed.wait_for(lambda: len(scene.api.events) == 50)
    assert {event["reason"] for event in scene.api.events} == {"Programmed"}


async def test_a_change_of_one_object_is_written_at_that_one_alone(scene: Scene) -> None:
    for name in ("a", "b"):
        scene.event("Relay", scene.api.put("relays", name, {"mx": {}}))
    for name in ("a", "b"):
        await scene.api.until_ready("relays", name, "True", "Programmed")
    scene.api.writes.clear()
    changed = scene.api.put("relays", "a", {"mx": {}, "destinations": ["a.example"]})
    scene.event("Relay", changed)
    async with asyncio.timeout(patient(10)), scene.api.changed:
        await scene.api.changed.wait_for(lambda: bool(scene.api.writes))
    assert scene.api.writes == [("relays", "a")]
    assert scene.api.objects["relays", "a"]["status"]["observedGeneration"] == 2


@pytest.mark.parametrize("scene", [0], indirect=True)
async def test_new_passwords_delay_no_other_edit(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred of them took four seconds of each edit, in one compilation."""
    released = threading.Event()
    make = Verifiers.make

    def made_later(self: Verifiers, password: Unhashed) -> ScramVerifier:
        assert threading.current_thread() is not threading.main_thread()
        assert released.wait(patient(30))
        return make(self, password)

    monkeypatch.setattr(Verifiers, "make", made_later)
    login = {"username": b64encode(b"app").decode(), "password": b64encode(b"secret").decode()}
    labels = {"postroad.dev/secret-type": "login"}
    scene.api.secrets["app"] = {"metadata": {"name": "app", "labels": labels}, "data": login}
    spec = {"auth": {"secretRef": {"name": "app"}}, "senders": ["*@*"]}
    scene.event("Client", scene.api.put("clients", "app", spec))
    await scene.api.until_ready("clients", "app", "False", "Pending")
    scene.event("Relay", scene.api.put("relays", "a", {"mx": {}}))
    await scene.api.until_ready("relays", "a", "True", "Programmed")
    released.set()
    await scene.api.until_ready("clients", "app", "True", "Programmed")


async def test_an_object_gone_bad_keeps_its_last_good_form(scene: Scene) -> None:
    scene.event("Relay", scene.api.put("relays", "a", {"mx": {}}))
    await scene.api.until_ready("relays", "a", "True", "Programmed")
    bad = scene.api.put("relays", "a", {"mx": {}, "smarthosts": [{"host": "a.example"}]})
    scene.event("Relay", bad)
    await scene.api.until_ready("relays", "a", "False", "Stale")
    assert scene.configuration.current is not None
    assert len(scene.configuration.current.relays) == 1
    scene.event("Relay", bad, "DELETED")
    async with asyncio.timeout(patient(10)):
        while scene.configuration.current is not None:
            await scene.configuration.changed()


@pytest.mark.parametrize("answer", [500, 503, 429, 403])
async def test_a_write_that_failed_is_tried_again(scene: Scene, answer: int) -> None:
    scene.api.answers = [answer, answer]
    scene.event("Relay", scene.api.put("relays", "a", {"mx": {}}))
    await scene.api.until_ready("relays", "a", "True", "Programmed")


async def test_a_status_that_is_refused_holds_nobody_up(scene: Scene) -> None:
    scene.api.answers = [422]
    scene.event("Relay", scene.api.put("relays", "a", {"mx": {}}))
    async with asyncio.timeout(patient(10)):
        while scene.api.answers:
            await asyncio.sleep(0.02)
    scene.event("Relay", scene.api.put("relays", "b", {"mx": {}}))
    await scene.api.until_ready("relays", "b", "True", "Programmed")
    assert scene.api.writes == [("relays", "b")]


async def test_what_somebody_else_published_is_put_right(scene: Scene) -> None:
    scene.event("Relay", scene.api.put("relays", "a", {"mx": {}}))
    await scene.api.until_ready("relays", "a", "True", "Programmed")
    published = await scene.spool.config.last()
    await scene.spool.config.publish({})
    async with asyncio.timeout(patient(10)):
        while (found := await scene.spool.config.last()) is None or not found.entries:
            await asyncio.sleep(0.02)
    assert published is not None
    assert found.entries == published.entries


async def test_a_secret_that_cannot_be_read_holds_up_its_own_object_alone(scene: Scene) -> None:
    # Five seconds, after which it is asked for again.
    scene.api.secrets["login"] = 500
    names_it = {"smarthosts": [{"host": "h.example"}], "auth": {"secretRef": {"name": "login"}}}
    scene.event("Relay", scene.api.put("relays", "a", names_it))
    scene.event("Relay", scene.api.put("relays", "b", {"mx": {}}))
    await scene.api.until_ready("relays", "b", "True", "Programmed")
    login = {"username": "dQ==", "password": "cA=="}
    metadata = {
        "name": "login",
        "namespace": "shop",
        "resourceVersion": "1",
        "labels": {"postroad.dev/secret-type": "login"},
        "annotations": {"postroad.dev/hosts": "h.example"},
    }
    scene.api.secrets["login"] = {"metadata": metadata, "data": login}
    await scene.api.until_ready("relays", "a", "True", "Programmed")


async def test_an_object_too_large_for_the_queue_says_so_and_the_others_apply(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryConfig, "largest_entry", 200_000)  # as of servers of one's own
    addresses = [f"{number:05}{'x' * 250}@a.example" for number in range(1000)]
    spec: Object = {
        "domain": "a.example",
        "receive": {
            "route": {"hosts": [{"host": "real.example"}]},
            "recipients": {"mode": "List", "addresses": addresses},
        },
    }
    scene.event("Domain", scene.api.put("domains", "a", spec))
    scene.event("Relay", scene.api.put("relays", "b", {"mx": {}}))
    await scene.api.until_ready("relays", "b", "True", "Programmed")
    await scene.api.until_ready("domains", "a", "False", "TooLarge")
    del addresses[500:]
    scene.event("Domain", scene.api.put("domains", "a", spec))
    await scene.api.until_ready("domains", "a", "True", "Programmed")


async def test_what_is_refused_for_good_is_not_published_again_until_something_changes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0
    publish = MemoryConfig.publish

    async def refuse(config: MemoryConfig, entries: Mapping[str, bytes]) -> int:
        nonlocal tries
        tries += 1
        if "relay.shop.b" not in entries:
            raise RecordTooLarge("larger than what is stored: relay.shop.a (9)")
        return await publish(config, entries)

    monkeypatch.setattr(MemoryConfig, "publish", refuse)
    with capture_logs() as lines:
        scene.event("Relay", scene.api.put("relays", "a", {"mx": {}}))
        async with asyncio.timeout(patient(10)):
            while not any("until it changes" in line["event"] for line in lines):
                await asyncio.sleep(0.02)
        scene.event("Relay", scene.api.put("relays", "b", {"mx": {}}))
        await scene.api.until_ready("relays", "b", "True", "Programmed")
    assert "relay.shop.a" in lines[0]["error"]
