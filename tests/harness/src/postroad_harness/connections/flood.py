"""
Measures how much of a Client's rate is left during a flood of connections. Run by `make flood`.

An ingress runs in its own process over a queue in memory. A Client sends mail to it from 127.0.0.1,
with a new connection for each message. Then strangers connect a thousand times a second and send
nothing, first from one address, over its limit, and then from 200.
"""

import argparse
import asyncio
import itertools
import multiprocessing
import os
import socket
import tempfile
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

from postroad.acceptance.admission import ListenerKind
from postroad.ingress import metrics
from postroad.testing.processes.ingress import MANIFESTS, start_ingress

ONE = ("127.0.0.2",)
MANY = tuple(f"127.0.{1 + n // 100}.{2 + n % 100}" for n in range(200))
_HELD = 3000  # connections a flood holds open; the oldest is closed for a new one


@dataclass(frozen=True)
class Phase:
    """One part of the run: messages a second that were accepted, and connections of strangers."""

    name: str
    rate: float
    failed: int
    connections: int


async def _serve(port: Connection, folder: Path) -> None:
    scene = await start_ingress(tls=folder)
    await scene.configure(MANIFESTS, folder)
    port.send(scene.ports[ListenerKind.RELAY])
    await asyncio.to_thread(port.recv)
    turned_away = sum(series.value for _, series in metrics.TURNED_AWAY.series())
    port.send(turned_away)
    await scene.end()


def _ingress(port: Connection, folder: Path) -> None:
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    uvloop.run(_serve(port, folder))


def _flood(port: int, addresses: tuple[str, ...], rate: int, seconds: float) -> int:
    """Connect at this rate, from each address in turn; keep connections that are not closed."""
    held: deque[socket.socket] = deque()
    began, made = time.monotonic(), 0
    for address in itertools.cycle(addresses):
        ahead = made / rate - (time.monotonic() - began)
        if made >= rate * seconds:
            break
        if ahead > 0:
            time.sleep(ahead)
        stranger = socket.socket()
        stranger.setblocking(False)
        stranger.bind((address, 0))
        with suppress(BlockingIOError):
            stranger.connect(("127.0.0.1", port))
        held.append(stranger)
        made += 1
        if len(held) > _HELD:
            held.popleft().close()
    for stranger in held:
        stranger.close()
    return made


def _mail(port: int, seconds: float) -> tuple[int, int]:
    """Send as fast as possible; return the numbers of accepted and of failed messages."""
    accepted = failed = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if one_message(port):
            accepted += 1
        else:
            failed += 1
    return accepted, failed


def one_message(port: int, *, timeout: float = 10) -> bool:
    """Send a message of 4 KiB on a connection of its own; say whether it was accepted."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout) as client:
            replies = client.makefile("rb")
            if not replies.readline().startswith(b"220 "):
                return False
            client.sendall(
                b"HELO a\r\nMAIL FROM:<me@near.example>\r\nRCPT TO:<you@far.example>\r\n"
            )
            client.sendall(b"DATA\r\n")
            said = [replies.readline()[:3] for _ in range(4)]
            client.sendall(b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 56 + b".\r\nQUIT\r\n")
            said += [replies.readline()[:3] for _ in range(2)]
            return said == [b"250", b"250", b"250", b"354", b"250", b"221"]
    except OSError:
        return False


def flood(*, seconds: float, rate: int) -> tuple[list[Phase], int]:
    """Run all phases; return them and the number of connections that were refused."""
    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe()
    with tempfile.TemporaryDirectory() as folder, processes.Pool(2) as pool:
        server = processes.Process(target=_ingress, args=(there, Path(folder)), daemon=True)
        server.start()
        port = here.recv()
        _mail(port, 0.2)
        phases = []
        for name, addresses in (
            *(("quiet", ()), ("one address", ONE)),
            *(("quiet", ()), ("200 addresses", MANY), ("quiet", ())),
        ):
            mail = pool.apply_async(_mail, (port, seconds))
            made = pool.apply(_flood, (port, addresses, rate, seconds)) if addresses else 0
            accepted, failed = mail.get()
            phases.append(Phase(name, accepted / seconds, failed, made))
        here.send(None)
        turned_away = here.recv()
        server.join()
    return phases, int(turned_away)


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=1000)
    options = parser.parse_args()
    phases, turned_away = flood(seconds=options.seconds, rate=options.rate)
    quiet = [phase.rate for phase in phases if phase.name == "quiet"]
    for phase in phases:
        share = phase.rate / (sum(quiet) / len(quiet))
        print(
            f"{phase.name}: {phase.rate:.0f} messages/s ({share:.0%}), {phase.failed} failed,"
            f" {phase.connections} connections of strangers"
        )
    print(f"{turned_away} connections were turned away")


if __name__ == "__main__":
    main()
