"""
Strangers that make an ingress hold as much memory as they can, beside a Client's mail.

Each stranger names as many recipients as allowed, with the longest addresses. Then it asks for
refused recipients, so that its replies are delayed, and fills its input. Meanwhile a Client sends
mail. The ingress runs in its own process over a queue in memory, so its memory can be measured
(`make flood`).
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import resource
import socket
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

from postroad.acceptance.admission import ListenerKind
from postroad.ingress import metrics
from postroad.testing.processes.ingress import MANIFESTS, start_ingress
from postroad.units.quantities import ByteSize
from postroad_harness.connections.flood import one_message

# The manifests of the other tests, and any.example, which accepts every recipient.
ANYBODY = (
    MANIFESTS
    + """\
---
apiVersion: postroad.dev/v1alpha1
kind: Domain
metadata: {name: any}
spec:
  domain: any.example
  receive: {route: {hosts: [{host: real.any.example}]}, recipients: {mode: Any}}
  send: {relayRef: {name: out}}
"""
)
_LOCAL_PART = 255  # octets
_FROM_ONE = 90  # connections from one address
_TALKING = 50  # strangers that send at the same time
_HELD_BACK = 2.0  # seconds that a stranger goes on sending while its refusals are delayed
_PATIENCE = 60.0  # seconds that the Client waits for a reply
_FILL = (b"NOOP " + b"x" * 200 + b"\r\n") * 1200


@dataclass(frozen=True)
class Hoard:
    """The result. Memory is the resident size, in octets."""

    idle: int
    peak: int
    refused: int  # commands and sessions of strangers, for want of memory
    accepted: int  # messages of the Client
    failed: int


async def _serve(port: Connection, folder: Path, memory: int) -> None:
    # The limit on refusals must not end their sessions before they hold all that they can.
    scene = await start_ingress(
        tls=folder, memory=ByteSize(memory), rejections_per_network=1_000_000
    )
    await scene.configure(ANYBODY, folder)
    port.send((scene.ports[ListenerKind.RELAY], _resident("VmRSS")))
    await asyncio.to_thread(port.recv)
    refused = sum(
        series.value for (_, reason), series in metrics.REFUSALS.series() if reason == "memory"
    )
    port.send((_resident("VmHWM"), int(refused)))
    await scene.end()


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _ingress(port: Connection, folder: Path, memory: int) -> None:
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    uvloop.run(_serve(port, folder, memory))


async def _stranger(port: int, number: int, recipients: int) -> socket.socket:
    """Send everything, read the replies meanwhile, and keep the connection."""
    stranger = socket.socket()
    stranger.setblocking(False)
    stranger.bind((f"127.0.1.{2 + number // _FROM_ONE}", 0))
    await asyncio.get_running_loop().sock_connect(stranger, ("127.0.0.1", port))
    reading = asyncio.create_task(_read(stranger))
    await _say(stranger, b"EHLO a\r\nMAIL FROM:<a@b.example>\r\n")
    for begin in range(0, recipients, 40):
        names = (b"%d.%d." % (number, begin + n) for n in range(min(40, recipients - begin)))
        await _say(stranger, *(b"RCPT TO:<%b@any.example>\r\n" % _long(name) for name in names))
    refused = [b"RCPT TO:<you@elsewhere.example>\r\n"] * 99  # answered later and later
    await _say(stranger, *refused, _FILL, seconds=_HELD_BACK)
    reading.cancel()
    return stranger


def _long(name: bytes) -> bytes:
    return name.ljust(_LOCAL_PART, b"x")


async def _say(stranger: socket.socket, *commands: bytes, seconds: float = _PATIENCE) -> None:
    # A stranger whose connection was ended or that is held back stops sending.
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_sendall(stranger, b"".join(commands))


async def _read(stranger: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while await asyncio.get_running_loop().sock_recv(stranger, 65536):
            pass


async def _hold(port: int, connections: int, recipients: int) -> tuple[int, int]:
    """Let so many strangers talk; return how many messages of a Client passed, and did not."""
    passed = [0, 0]
    all_there = asyncio.Event()

    async def client() -> None:
        left = 3  # messages when all strangers are there; one may have begun before
        while left:
            left -= all_there.is_set()
            passed[not await asyncio.to_thread(one_message, port, timeout=_PATIENCE)] += 1

    sending, turn = asyncio.create_task(client()), asyncio.Semaphore(_TALKING)

    async def one(number: int) -> socket.socket:
        async with turn:
            return await _stranger(port, number, recipients)

    strangers = await asyncio.gather(*map(one, range(connections)))
    all_there.set()
    await sending
    for stranger in strangers:
        stranger.close()
    return passed[0], passed[1]


def hoard(*, connections: int, recipients: int, memory: int) -> Hoard:
    """Have so many connections with so many recipients each; `memory` is the ingress's setting."""
    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        server = processes.Process(target=_ingress, args=(there, Path(folder), memory), daemon=True)
        server.start()
        port, idle = here.recv()
        accepted, failed = uvloop.run(_hold(port, connections, recipients))
        here.send(None)
        peak, refused = here.recv()
        server.join()
    return Hoard(idle, peak, refused, accepted, failed)


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=700)
    parser.add_argument("--recipients", type=int, default=880)
    parser.add_argument("--memory", type=int, default=512 * 1024 * 1024)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    seen = hoard(**vars(options))
    print(
        f"{options.connections} strangers with {options.recipients} recipients each:"
        f" {seen.idle / 1e6:.0f} MB before, {seen.peak / 1e6:.0f} MB at most;"
        f" {seen.refused} refusals for want of memory;"
        f" a Client's messages: {seen.accepted} accepted, {seen.failed} failed"
    )


if __name__ == "__main__":
    main()
