"""The memory of processes: idle, with idle connections, and while a message of 50 MB passes."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from postroad.cli.sink.server import Sink
from postroad.testing.patience import patient
from postroad.testing.peers.smtp_peer import SmtpPeer, client_context
from postroad.testing.processes.relay import RunningRelay
from postroad.testing.streams import hang_up
from postroad_harness.source import Deliveries, Source

pytestmark = [pytest.mark.nats, pytest.mark.timeout(120)]

StartRelay = Callable[..., Awaitable[RunningRelay]]
OpenSink = Callable[..., Awaitable[tuple[Sink, int]]]

MEGABYTE = 1_000_000
IDLE, BUSY = 80 * MEGABYTE, 150 * MEGABYTE  # octets of RSS
# Octets of an idle connection: some 5,000, under TLS 28,000, and what so few of them leave unclear.
IDLE_PLAIN, IDLE_TLS = 6_000, 38_000
LARGE = 49 * MEGABYTE  # with its header it is under the default limit
MANIFESTS = """\
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {{name: tests}}
spec: {{networks: ["127.0.0.0/8"], senders: ["*"]}}
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {{name: out}}
spec: {{destinations: ["*"], smarthosts: [{{host: 127.0.0.1, port: {port}}}]}}
"""


def peak(pid: int) -> int:
    """Return the largest RSS a process has had, in octets."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no peak")


def own(pid: int) -> int:
    """Return the memory that is a process's alone, in octets."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no memory")


async def idle(port: int, count: int, tls: ssl.SSLContext | None) -> list[SmtpPeer]:
    """Open connections from several addresses, and let them idle."""
    peers = []
    for number in range(count):
        peer = SmtpPeer(
            *await asyncio.open_connection(
                *("127.0.0.1", port), ssl=tls, local_addr=(f"127.0.1.{1 + number % 10}", 0)
            )
        )
        await peer.reply()
        await peer.say("EHLO client.example")
        peers.append(peer)
    return peers


async def leave(peers: Sequence[SmtpPeer]) -> None:
    for peer in peers:
        await peer.say("QUIT")
        await hang_up(peer.writer)


@pytest.mark.parametrize(
    ("listener", "tls", "count", "most"),
    [("relay", None, 500, IDLE_PLAIN), ("submissions", client_context(), 200, IDLE_TLS)],
    ids=["plain", "tls"],
)
async def test_an_idle_connection_takes_little_memory(
    start_relay: StartRelay, listener: str, tls: ssl.SSLContext | None, count: int, most: int
) -> None:
    relay = await start_relay(MANIFESTS.format(port=25))
    pid, port = relay.children()["ingress-0"], relay.port(listener)
    await leave(await idle(port, 20, tls))  # the allocator learns from blocks that are freed
    before = own(pid)
    peers = await idle(port, count, tls)
    each = (own(pid) - before) / count
    await leave(peers)
    assert each < most


async def test_a_large_message_passes_in_little_memory(
    start_relay: StartRelay, sink_port: OpenSink
) -> None:
    sink, port = await sink_port()
    deliveries, sizes = Deliveries(), list[int]()

    def note(content: bytearray) -> None:
        sizes.append(len(content))
        deliveries.note(content)

    sink.on_taken = note
    relay = await start_relay(MANIFESTS.format(port=port))
    processes = {n: p for n, p in relay.children().items() if n in ("ingress-0", "delivery-0")}
    assert len(processes) == 2
    small = Source(relay.port())
    await deliveries.wait_for(await small.send(1), seconds=20)
    idle = {name: peak(pid) for name, pid in processes.items()}
    large = Source(relay.port(), size=LARGE)
    account = await large.send(3, sessions=3)
    assert len(account.accepted) == 3
    async with asyncio.timeout(patient(60)):
        while len(sizes) < 4:
            await asyncio.sleep(0.1)
    busy = {name: peak(pid) for name, pid in processes.items()}
    print({name: f"{idle[name] // MEGABYTE} → {busy[name] // MEGABYTE} MB" for name in processes})
    assert min(sizes[1:]) > LARGE * 0.98
    assert max(idle.values()) < IDLE
    assert max(busy.values()) < BUSY
