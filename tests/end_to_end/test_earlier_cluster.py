"""
A cluster with a queue of three servers is upgraded from the last landed commit, and loses no mail.

The earlier processes really run. They fill the queue; then the servers get the new accounts, one
after another, and new processes run beside the old ones, as in a rolling update.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from postroad.cli.sink.server import Sink
from postroad.spool.agreement import Order
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.selection import Selection, WaitKind
from postroad.testing import children
from postroad.testing.patience import patient
from postroad.testing.queue.accounts import API_PREFIX, as_role, password_of
from postroad.testing.queue.nats_cluster import NatsCluster
from postroad.testing.queue.nats_server import free_ports
from postroad.testing.queue.queued_mail import now
from postroad.testing.streams import hang_up
from postroad_harness.source import Account, Deliveries, Source
from postroad_harness.upgrades.earlier import NoHistory, earlier_source, interpreter_of

pytestmark = [pytest.mark.nats, pytest.mark.timeout(180)]

ACCOUNTS = Path("charts") / "postroad" / "files" / "nats-accounts.conf"
ROOT = Path(__file__).parents[2]
SHARDS = 2
OpenSink = Callable[..., Awaitable[tuple[Sink, int]]]

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
# What an operator does of either build: it makes the queue, and publishes the objects.
OPERATOR = """\
import asyncio, sys
from pathlib import Path
from postroad.manifests.compiler.check import check
from postroad.queue.configuration import publish_objects
from postroad.spool.errors import SpoolError
from postroad.spool.agreement import Order
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.lanes.layout import Layout
from postroad.testing.keys import keyrings_in
from postroad.testing.queue.accounts import as_role


async def operate(folder, shards, *urls):
    options = as_role("operator", *urls)
    while True:
        try:
            await provision(options, layout=Layout(int(shards), 8, 3), capacity=10**9)
            break
        except SpoolError:  # the servers have not met yet
            await asyncio.sleep(0.2)
    spool, keyrings = await connect(options), keyrings_in(folder)
    mistakes, compiled = check([folder / "manifests.yaml"], keyrings=keyrings)
    assert not mistakes, mistakes
    await publish_objects(spool, compiled.entries, keyrings)
    await spool.close()


asyncio.run(operate(Path(sys.argv[1]), *sys.argv[2:]))
"""
SIZES = {"ready": 1024, "deferred": 2048, "also": 2048, "held": 1024, "large": 400_000}
EACH = 3  # messages


def manifests(ports: Mapping[str, int]) -> str:
    return CLIENT + "".join(RELAY.format(name=name, port=port) for name, port in ports.items())


@dataclass
class Build:
    """The processes of one build; `python` is its interpreter."""

    name: str
    python: str
    folder: Path
    servers: NatsCluster
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    def _environment(self, role: str) -> dict[str, str]:
        return {
            **{name: text for name, text in os.environ.items() if not name.startswith("POSTROAD_")},
            "POSTROAD_NATS_URL": ",".join(self.servers.urls),
            "POSTROAD_NATS_USER": role,
            "POSTROAD_NATS_PASSWORD": password_of(role),
            "POSTROAD_NATS_API_PREFIX": API_PREFIX,
        }

    async def operate(self, ports: Mapping[str, int]) -> None:
        """Make or correct the queue, and bring manifests into force, as the operator does."""
        (self.folder / "manifests.yaml").write_text(manifests(ports))
        process = await asyncio.create_subprocess_exec(
            *(self.python, "-c", OPERATOR, str(self.folder), str(SHARDS), *self.servers.urls),
            preexec_fn=children.dies_with_us(),
        )
        async with asyncio.timeout(patient(40)):
            assert await process.wait() == 0

    async def start(self, role: str, **more: str) -> None:
        """Start a process of a role, and wait until it can do its work."""
        [page] = free_ports(1)
        environment = {
            **self._environment(role),
            "POSTROAD_PROCESS": f"{self.name}-{role}",
            "POSTROAD_CLUSTER_KEY_FILE": str(self.folder / f"{role}.key"),
            "POSTROAD_HTTP": f"127.0.0.1:{page}",
            **more,
        }
        with (self.folder / f"{self.name}-{role}.log").open("wb") as log:
            self.processes[role] = await asyncio.create_subprocess_exec(
                *(self.python, "-m", f"postroad.{role}"),
                stderr=log,
                env=environment,
                preexec_fn=children.dies_with_us(),
            )
        async with asyncio.timeout(patient(30)):
            while not await is_ready(page):
                assert self.processes[role].returncode is None, self.log(role)
                await asyncio.sleep(0.05)

    def log(self, role: str) -> str:
        """Return what a process has logged."""
        return (self.folder / f"{self.name}-{role}.log").read_text()

    async def end(self, role: str) -> None:
        """Have a process drain, as Kubernetes does."""
        self.processes[role].send_signal(signal.SIGTERM)
        async with asyncio.timeout(patient(40)):
            await self.processes[role].wait()

    async def kill(self) -> None:
        for process in self.processes.values():
            if process.returncode is None:
                process.kill()
                await process.wait()


async def is_ready(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    status = await reader.readline()
    await hang_up(writer)
    return b" 200 " in status


@pytest.fixture
async def silent_port() -> AsyncIterator[int]:
    """Give a port where a server takes connections and says nothing."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in writers:
        await hang_up(writer)


async def sent(port: int, name: str) -> Account:
    source = Source(port, recipients=(f"to@{name}.example",), size=SIZES[name])
    async with asyncio.timeout(patient(20)):
        account = await source.send(EACH, sessions=1)
    assert len(account.accepted) == EACH
    return account


async def order(command: JetStreamSpool, action: str, domain: str | None = None) -> None:
    """Give an order, as the command does."""
    selection, until = Selection(domain=domain), now() + timedelta(hours=1)
    await command.orders.place(Order(uuid4().hex, action, selection, now(), until, now()))


async def until_waiting(command: JetStreamSpool, **wanted: int) -> None:
    """Wait until so much mail is deferred and held, and all else is ready."""
    kinds = {WaitKind.DEFERRED: "deferred", WaitKind.HELD: "held", WaitKind.READY: "ready"}
    async with asyncio.timeout(patient(30)):
        while True:
            found = dict.fromkeys(kinds.values(), 0)
            for (kind, _, _), tally in (await command.waiting.counts()).items():
                found[kinds[kind]] += tally.number
            if {name: found[name] for name in wanted} == wanted:
                return
            await asyncio.sleep(0.1)


async def test_a_queue_of_three_servers_is_taken_over_while_old_processes_still_run(
    sink_port: OpenSink, silent_port: int, tmp_path: Path
) -> None:
    """Over 5 s: two builds start their processes, and three servers restart in turn."""
    sinks, ports, deliveries = {}, {}, {name: Deliveries() for name in SIZES}
    for name in SIZES:
        sinks[name], ports[name] = await sink_port(defer_share=1.0)
        sinks[name].on_taken = deliveries[name].note
    try:
        source = await asyncio.to_thread(earlier_source, tmp_path)
    except NoHistory as error:
        pytest.fail(str(error))
    python = await asyncio.to_thread(interpreter_of, source, tmp_path / "environment")
    cluster = NatsCluster(tmp_path / "nats", accounts=source / ACCOUNTS, shards=SHARDS)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(cluster)
        old = Build("old", python, tmp_path, cluster)
        new = Build("new", sys.executable, tmp_path, cluster)
        stack.push_async_callback(old.kill)
        stack.push_async_callback(new.kill)

        await old.operate(ports | {"ready": silent_port})
        [inlet] = free_ports(1)
        listener = {"POSTROAD_LISTEN_RELAY": f"127.0.0.1:{inlet}"}
        await old.start("ingress", **listener, POSTROAD_TLS_STATE=str(tmp_path / "tls"))
        await old.start("delivery", POSTROAD_FINISH="1s")
        accounts = {name: await sent(inlet, name) for name in SIZES}
        command = await connect(as_role("command", *cluster.urls))
        stack.push_async_callback(command.close)
        await until_waiting(command, deferred=4 * EACH, ready=EACH)
        await order(command, "hold", "held.example")
        await until_waiting(command, deferred=3 * EACH, held=EACH, ready=EACH)

        for server in cluster.servers:
            await server.change_accounts(ROOT / ACCOUNTS)
        for sink in sinks.values():
            sink.behaviour = sink.behaviour.__class__()
        await new.operate(ports)
        await new.start("delivery")
        await order(command, "retry", "deferred.example")
        await deliveries["deferred"].wait_for(accounts["deferred"], seconds=30)
        assert old.processes["delivery"].returncode is None, old.log("delivery")

        await old.end("ingress")
        await old.end("delivery")
        await new.start("ingress", **listener, POSTROAD_TLS_STATE=str(tmp_path / "tls"))
        await order(command, "retry")
        for name in ("ready", "also", "large"):
            # The earlier build's requests outlive it by 30 s. What the servers send to them comes
            # again after its lease of 20 s, and so twice at worst.
            await deliveries[name].wait_for(accounts[name], seconds=70)
        assert deliveries["held"].counts == {}
        await order(command, "release")
        await deliveries["held"].wait_for(accounts["held"], seconds=30)
        await until_waiting(command, deferred=0, held=0, ready=0)
    for name, delivered in deliveries.items():
        assert (name, delivered.duplicated()) == (name, set())
    assert sinks["large"].counts.octets > EACH * SIZES["large"]


def test_a_shallow_clone_is_told_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(NoHistory, match=r"lacks the commit 01234567, .* `git fetch --unshallow`"):
        earlier_source(tmp_path, commit="01234567" * 5)
