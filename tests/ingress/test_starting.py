"""The start of the process: connections wait in its sockets until there is a configuration."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from postroad.ingress import app
from postroad.ingress.settings import IngressSettings
from postroad.manifests.compiler.check import check
from postroad.policy.secrets.seal import Keyrings
from postroad.process.lifecycle import Process
from postroad.process.settings import load
from postroad.queue.configuration import publish_objects
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.testing.keys import keyrings_in
from postroad.testing.patience import patient
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.ingress import MANIFESTS
from postroad.testing.streams import hang_up


@dataclass(frozen=True)
class Start:
    """A process that starts over a queue where nothing is published."""

    process: Process
    address: tuple[str, int]
    cluster: MemoryCluster
    keyrings: Keyrings
    living: asyncio.Task[int]

    async def publish(self, folder: Path) -> None:
        """Publish the manifests."""
        file = folder / "manifests.yaml"
        file.write_text(MANIFESTS)
        _, compiled = check([file], keyrings=self.keyrings)
        await publish_objects(MemorySpool(self.cluster), compiled.entries, self.keyrings)

    async def until_unconfigured(self) -> None:
        """Wait until it has got as far as to say that it has no configuration."""
        async with asyncio.timeout(patient(10)):
            while "configuration" not in self.process.readiness.reasons():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def connected(start: Start) -> AsyncIterator[SmtpPeer]:
    peer = SmtpPeer(*await asyncio.open_connection(*start.address))
    try:
        yield peer
    finally:
        await hang_up(peer.writer)


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    cluster = MemoryCluster()

    async def open_queue(process: Process, _: object, *, role: str, packs: bool) -> MemorySpool:
        spool = MemorySpool(cluster, role=role)
        process.on_stop("queue", spool.close)
        return spool

    monkeypatch.setattr(app, "open_queue", open_queue)
    keyrings = keyrings_in(tmp_path)
    listener = socket.create_server(("127.0.0.1", 0))
    settings = load(
        IngressSettings,
        {
            "POSTROAD_LISTEN_RELAY": f"fd:{listener.fileno()}",
            "POSTROAD_CLUSTER_KEY_FILE": str(tmp_path / "ingress.key"),
            "POSTROAD_TLS_STATE": str(tmp_path / "tls"),
            "POSTROAD_HOSTNAME": "relay.test",
        },
    )
    address = listener.getsockname()
    listener.detach()  # the process closes it
    process = Process("ingress", "ingress-0", drain_timeout=timedelta(seconds=5))
    living = asyncio.create_task(process.live(app.build(process, settings)))
    try:
        yield Start(process, address, cluster, keyrings, living)
    finally:
        process.stop()
        assert await living == 0


async def test_connections_wait_until_there_is_a_configuration(
    start: Start, tmp_path: Path
) -> None:
    await start.until_unconfigured()
    async with connected(start) as peer:
        await asyncio.sleep(0)  # time to turn it away
        await start.publish(tmp_path)
        assert (await peer.reply()).startswith("220 relay.test ")


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "CONFIGURATION_WAIT", timedelta(seconds=0.1))


@pytest.mark.usefixtures("short_wait")
async def test_without_a_configuration_clients_are_asked_to_come_later(start: Start) -> None:
    await start.until_unconfigured()
    async with connected(start) as peer:
        assert (await peer.reply()).startswith("421 4.3.2 ")
    assert start.process.readiness.reasons() == {"configuration": "no configuration is published"}


async def test_a_process_that_waits_for_a_configuration_can_be_stopped(start: Start) -> None:
    await start.until_unconfigured()
    start.process.stop()
    async with asyncio.timeout(patient(5)):
        assert await start.living == 0
