"""
`postroad up` takes over the state folder of an earlier release, with all that is queued there.

The earlier release really runs, with the packages of this environment. A clone may lack the
history, so its code is beside this file. `earlier.tar.xz` has a folder for each of these, as
`git archive --prefix=FOLDER/ COMMIT services/*/src operator/src proto` writes it:

- `one-stream`: the last commit at which a shard had one stream of records.
- `chunks-together`: the last one at which all chunks of a body were on one subject.
"""

import asyncio
import compileall
import sys
import sysconfig
import tarfile
import venv
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from postroad.cli.sink.server import Sink
from postroad.testing.patience import patient
from postroad.testing.processes.relay import RunningRelay
from postroad.testing.streams import hang_up
from postroad_harness.source import Account, Deliveries, Source

pytestmark = [pytest.mark.nats, pytest.mark.timeout(120)]

ARCHIVE = Path(__file__).parent / "earlier.tar.xz"
OpenSink = Callable[..., Awaitable[tuple[Sink, int]]]
StartRelay = Callable[..., Awaitable[RunningRelay]]

CLIENT = """\
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: tests}
spec: {networks: ["127.0.0.0/8"], senders: ["*"]}
"""
RELAY = """\
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {{name: {name}}}
spec:
  destinations: ["{name}.example"]
  smarthosts: [{{host: 127.0.0.1, port: {port}}}]
"""
SIZES = {"ready": 1024, "deferred": 2048, "held": 1024, "large": 400_000}


def manifests(ports: Mapping[str, int]) -> str:
    return CLIENT + "".join(RELAY.format(name=name, port=port) for name, port in ports.items())


def earlier_code(release: str, folder: Path) -> str:
    """Make an environment with the code of a release in a folder; return its interpreter."""
    source, environment = folder / release, folder / "environment"
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(folder, [each for each in tar if each.name.startswith(f"{release}/")])
    venv.create(environment, symlinks=True)
    compileall.compile_dir(source, quiet=1)  # else each process of the relay does it, at once
    [packages] = environment.glob("lib/python*/site-packages")
    code = [*source.glob("services/*/src"), source / "operator" / "src", source / "proto"]
    # Packages of this environment come after it; its own code, in a .pth file there, does not.
    (packages / "earlier.pth").write_text(
        "\n".join(map(str, [*code, sysconfig.get_path("purelib")]))
    )
    server = Path(sys.executable).with_name("nats-server")
    (environment / "bin" / "nats-server").symlink_to(server)
    return str(environment / "bin" / "python")


@pytest.fixture
async def silent_port() -> AsyncIterator[int]:
    """Give a port where a server takes connections and says nothing."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in writers:
        await hang_up(writer)


async def obeyed(relay: RunningRelay, *words: str) -> None:
    code, _, err = await relay.command("queue", *words)
    assert code == 0, err


async def send(relay: RunningRelay, name: str) -> Account:
    source = Source(relay.port(), recipients=(f"to@{name}.example",), size=SIZES[name])
    account = await source.send(3, sessions=1)
    assert len(account.accepted) == 3
    return account


async def until_deferred(sinks: Mapping[str, Sink]) -> None:
    """Wait until each message was tried whose next hop answers."""
    async with asyncio.timeout(patient(30)):
        while sum(sink.counts.deferred for sink in sinks.values()) < 9:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("release", ["one-stream", "chunks-together"])
async def test_all_that_an_earlier_release_has_queued_is_delivered(
    start_relay: StartRelay, sink_port: OpenSink, silent_port: int, tmp_path: Path, release: str
) -> None:
    """Over 5 s: it unpacks a release, and starts a relay twice."""
    sinks, ports, deliveries = {}, {}, {name: Deliveries() for name in SIZES}
    for name in SIZES:
        sinks[name], ports[name] = await sink_port(defer_share=1.0)
        sinks[name].on_taken = deliveries[name].note
    python = await asyncio.to_thread(earlier_code, release, tmp_path / "earlier")
    before = RunningRelay(tmp_path, manifests(ports | {"ready": silent_port}), python=python)
    try:
        await before.start()
        accounts = {name: await send(before, name) for name in SIZES}
        await until_deferred(sinks)
        await obeyed(before, "hold", "--domain", "held.example", "--yes")
    finally:
        await before.kill()

    for sink in sinks.values():
        sink.behaviour = sink.behaviour.__class__()
    after = await start_relay(manifests(ports))
    await obeyed(after, "retry", "--all", "--yes")
    for name in ("ready", "deferred", "large"):
        await deliveries[name].wait_for(accounts[name], seconds=30)
    assert deliveries["held"].counts == {}
    await obeyed(after, "release", "--all", "--yes")
    await deliveries["held"].wait_for(accounts["held"], seconds=30)
    code, out, _ = await after.command("queue", "list", "--json")
    assert (code, out) == (0, "")
    for name, delivered in deliveries.items():
        assert (name, delivered.duplicated()) == (name, set())
    assert sinks["large"].counts.octets > 3 * SIZES["large"]
