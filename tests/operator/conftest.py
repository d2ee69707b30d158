"""
A real API server for the operator's tests: etcd and kube-apiserver, without nodes.

The binaries are those on PATH, or in ~/.cache/kubelab/bin. Without them, every test that needs an
API server is skipped with a reason. There is one server for the whole session, and a namespace for
each test.
"""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from ruamel.yaml import YAML

from postroad.operator.kubernetes.client import PLURALS, ApiAccess, Kube
from postroad.testing.children import dies_with_us
from postroad.testing.keys import keyrings_in
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer, free_ports
from postroad_harness.cluster.operators import Cluster
from postroad_harness.left_out import leave_out

ROOT = Path(__file__).parents[2]
_TOKEN = "the-tests"
_START_LIMIT = 60.0  # seconds


def _binary(name: str) -> str | None:
    own = Path.home() / ".cache/kubelab/bin" / name
    return shutil.which(name) or (str(own) if own.exists() else None)


class ApiServer:
    """kube-apiserver over etcd, in a folder; everything is allowed to who has the token."""

    def __init__(self, folder: Path, etcd: str, apiserver: str) -> None:
        self._folder = folder
        self._binaries = etcd, apiserver
        self._etcd_port, self._peer_port, self._port = free_ports(3)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.kubeconfig = folder / "kubeconfig"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self._port}"

    def access(self) -> ApiAccess:
        """Return how tests reach it."""
        return ApiAccess(server=self.url, token=_TOKEN, insecure=True)

    def start(self) -> None:
        """Start both; they are ready when `ready` says so."""
        (self._folder / "tokens.csv").write_text(f'{_TOKEN},tests,tests,"system:masters"\n')
        key = self._folder / "accounts.key"
        subprocess.run(
            ["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True
        )
        here = f"http://127.0.0.1:{self._etcd_port}"
        peer = f"http://127.0.0.1:{self._peer_port}"
        self._spawn(
            *(
                self._binaries[0],
                "--name=tests",
                f"--data-dir={self._folder / 'etcd'}",
                "--unsafe-no-fsync",
            ),
            *(f"--listen-client-urls={here}", f"--advertise-client-urls={here}"),
            *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
            *(f"--initial-cluster=tests={peer}", "--log-level=warn"),
        )
        self.start_apiserver()
        self.kubeconfig.write_text(json.dumps(self._kubeconfig()))

    def start_apiserver(self) -> None:
        """Start the API server alone."""
        key = self._folder / "accounts.key"
        self._spawn(
            self._binaries[1],
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            *("--bind-address=127.0.0.1", f"--secure-port={self._port}"),
            f"--cert-dir={self._folder / 'certificates'}",
            f"--token-auth-file={self._folder / 'tokens.csv'}",
            *("--service-account-issuer=https://tests", f"--service-account-key-file={key}"),
            f"--service-account-signing-key-file={key}",
            *("--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24"),
            "--disable-admission-plugins=ServiceAccount",
            "--profiling=false",
        )

    def kill_apiserver(self) -> None:
        """End the API server, and leave etcd."""
        process = self._processes.pop()
        process.kill()
        process.wait()

    async def ready(self, path: str = "/api/v1/namespaces/default") -> None:
        """Wait until it serves, namely a path."""
        kube = Kube(self.access)
        try:
            async with asyncio.timeout(patient(_START_LIMIT)):
                while not await _serves(kube, path):
                    assert all(each.poll() is None for each in self._processes), self.log()
                    await asyncio.sleep(0.1)
        finally:
            await kube.close()

    def end(self) -> None:
        """Kill both."""
        for process in reversed(self._processes):
            process.kill()
            process.wait()

    def log(self) -> str:
        """Return the end of what both have said."""
        return (self._folder / "log").read_text()[-4000:]

    def _spawn(self, *words: str) -> None:
        with (self._folder / "log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=dies_with_us(),
                )
            )

    def _kubeconfig(self) -> object:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "t", "cluster": {"server": self.url, "insecure-skip-tls-verify": True}}
            ],
            "users": [{"name": "t", "user": {"token": _TOKEN}}],
            "contexts": [{"name": "t", "context": {"cluster": "t", "user": "t"}}],
            "current-context": "t",
        }


async def _serves(kube: Kube, path: str) -> bool:
    try:
        await kube.request("GET", path)
    except Exception:
        return False
    return True


@pytest.fixture(scope="session")
def running_api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Give the session's API server, or skip."""
    etcd, apiserver = _binary("etcd"), _binary("kube-apiserver")
    if etcd is None or apiserver is None:
        leave_out("needs etcd and kube-apiserver on the PATH")
    server = ApiServer(tmp_path_factory.mktemp("cluster"), etcd, apiserver)
    server.start()
    yield server
    server.end()


@pytest.fixture
async def api_server(running_api_server: ApiServer) -> ApiServer:
    """Give the API server, ready."""
    await running_api_server.ready()
    return running_api_server


@pytest.fixture
async def kube(api_server: ApiServer) -> AsyncIterator[Kube]:
    """Give a session with the API server, with the kinds installed."""
    kube = Kube(api_server.access)
    await _install_kinds(kube)
    yield kube
    await kube.close()


async def _install_kinds(kube: Kube) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    have = {each["metadata"]["name"] async for each in kube.list(path)}
    for file in sorted((ROOT / "charts/postroad/templates").glob("crd-*.yaml")):
        text = "\n".join(
            line for line in file.read_text().splitlines() if not line.strip().startswith("{{")
        )
        kind = YAML(typ="safe").load(text)
        kind["metadata"] = {"name": kind["metadata"]["name"]}
        if kind["metadata"]["name"] not in have:
            await kube.request("POST", path, body=kind)
    async with asyncio.timeout(patient(20)):
        for plural in PLURALS.values():
            while not await _serves(kube, f"/apis/postroad.dev/v1alpha1/{plural}"):
                await asyncio.sleep(0.1)


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
