"""The cluster, once for all scenarios; before each one, everything is reset."""

import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from pathlib import Path

import pytest

from postroad_harness.cluster import kube
from postroad_harness.cluster.kube import kubectl, run
from postroad_harness.cluster.release import base_namespace
from postroad_harness.cluster.scene import Scene, open_scene

Lab = Callable[..., Awaitable[None]]

_LEFT_BEHIND = Path("build/cluster-logs")
# Not by way of the API server, which keeps to itself what a page says that is not well.
_SHOW_HEALTH = """
import urllib.error, urllib.request
try:
    page = urllib.request.urlopen("http://localhost:8222/healthz", timeout=5)
except urllib.error.HTTPError as error:
    page = error
print(page.read().decode())
"""
_HEALTH = ("python3", "-I", "-S", "-c", _SHOW_HEALTH)
_QUEUE = (
    ("postroad", "status"),
    ("postroad", "queue", "list", "--limit", "20", "--output", "wide"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them all."""
    for item in items:
        item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
async def scene() -> AsyncIterator[Scene]:
    """The place outside, its sink, and the release that is to be."""
    opened = await open_scene()
    yield opened
    await opened.close()


@pytest.fixture
async def steady(scene: Scene) -> Scene:
    """A release with everything in its place: installed, declared, all pods and nodes there."""
    for node in await kube.items("nodes"):
        name = node["metadata"]["name"]
        if kube.condition(node, "Ready").get("status") != "True":
            await _node("node-mend", name)
            await _node("node-start", name)
        if node["spec"].get("unschedulable"):
            await kubectl("uncordon", name)
    if not await scene.release.is_installed():
        await scene.prepare()
        await scene.release.install()
    for component, replicas in scene.release.replicas.items():
        workload = scene.release.workload(component)
        await scene.release.kubectl("scale", workload, f"--replicas={replicas}")
    await scene.release.all_there()
    await scene.declare()
    await scene.find_ways()
    return scene


@pytest.fixture
def lab() -> Lab:
    """Something that kills nodes and cuts them off; without it there is nothing to try."""
    if not os.environ.get("POSTROAD_E2E_LAB"):
        pytest.skip("nodes cannot be killed or cut: POSTROAD_E2E_LAB names no command for it")
    return _node


async def _node(verb: str, name: str) -> None:
    await run(*os.environ.get("POSTROAD_E2E_LAB", "false").split(), verb, name, seconds=180)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, object]:
    """Say at once why a scenario failed, and keep what the cluster looks like."""
    outcome = yield
    if outcome.failed:
        # Not only at the end: whoever sets a limit to the whole run would never learn of it.
        writer = item.config.get_terminal_writer()
        writer.line(f"\n{item.name}, {outcome.when}: {outcome.longreprtext}")
        _look_around(item.name)
        writer.line(_overview())
    return outcome


def _overview() -> str:
    """Return the release's pods, what each of its nats-servers says, and what mail waits."""
    namespace = base_namespace()
    pods = _output("get", "pods", "-n", namespace, "-o", "wide")
    servers = (f"postroad-nats-{number}" for number in range(3))
    said = (_output("exec", "-n", namespace, server, "--", *_HEALTH) for server in servers)
    toolbox = ("exec", "-n", namespace, "deployment/postroad-toolbox", "--")
    mail = (_output(*toolbox, *words) for words in _QUEUE)
    return "\n".join((pods, *said, *mail))


def _output(*words: str) -> str:
    done = subprocess.run(
        ("kubectl", "--request-timeout=10s", *words), capture_output=True, timeout=30, check=False
    )
    return (done.stdout + done.stderr).decode(errors="replace")


def _look_around(scenario: str) -> None:
    _LEFT_BEHIND.mkdir(parents=True, exist_ok=True)
    release = ("-n", base_namespace())
    logs = ("logs", "-l", "app.kubernetes.io/part-of=postroad", "--prefix", "--tail=300")
    looks = (
        ("get", "nodes,pods", "-A", "-o", "wide"),
        ("get", "domains,relays,quotas,clients,domaingrants", "-A"),
        (*release, "get", "all,pvc,pdb"),
        (*release, "get", "events", "--sort-by=.lastTimestamp"),
        (*release, *logs, "--max-log-requests=30", "--all-containers"),
        (*release, "describe", "pods"),
    )
    with (_LEFT_BEHIND / f"{scenario}.txt").open("wb") as file:
        for words in looks:
            file.write(f"\n$ kubectl {' '.join(words)}\n".encode())
            file.flush()
            try:
                subprocess.run(
                    ("kubectl", *words), stdout=file, stderr=file, timeout=30, check=False
                )
            except subprocess.TimeoutExpired:
                file.write(b"(no answer)\n")


@pytest.fixture
def api_server() -> int:
    """Give the process id of the cluster's only API server, if it runs on this machine."""
    if not os.environ.get("POSTROAD_E2E_APISERVER_PID"):
        pytest.skip("the API server cannot be halted: POSTROAD_E2E_APISERVER_PID is not set")
    return int(os.environ["POSTROAD_E2E_APISERVER_PID"])
