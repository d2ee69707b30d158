"""
Every state of a connection, ended in every way, on every kind of port and on both event loops.

All states of one way of leaving are tried at once, on one ingress: afterwards it has no place
taken, no body begun, no task running, and nothing to wait for at a drain.
"""

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop

from postroad.ingress import metrics, wire
from postroad.ingress.admission import ListenerKind
from postroad.testing.ingress import MANIFESTS, Scene, start_ingress
from postroad.testing.patience import patient
from postroad.testing.smtp_peer import Peer, client_context

ENVELOPE = b"MAIL FROM:<me@near.example>\r\nRCPT TO:<you@far.example>\r\n"
LINES = (b"x" * 70 + b"\r\n") * 200
HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
PROXY = b"PROXY TCP4 127.0.0.1 192.0.2.25 40000 25\r\n"


@dataclass(frozen=True)
class Port:
    """A kind of port: which listener, and what precedes the session there."""

    kind: ListenerKind
    proxied: bool = False
    tls: str = ""  # "", "starttls" or "implicit"


PORTS = {
    "plain": Port(ListenerKind.RELAY),
    "starttls": Port(ListenerKind.SUBMISSION, tls="starttls"),
    "implicit": Port(ListenerKind.SUBMISSIONS, tls="implicit"),
    "proxied": Port(ListenerKind.RELAY, proxied=True),
    "proxied starttls": Port(ListenerKind.SUBMISSION, proxied=True, tls="starttls"),
    "proxied implicit": Port(ListenerKind.SUBMISSIONS, proxied=True, tls="implicit"),
}


# ---------------------------------------------------------------- states


async def connected(scene: Scene, port: Port) -> Peer:
    """Nothing was said: not a header, not a ClientHello, not a command."""
    ports = scene.proxy_ports if port.proxied else scene.ports
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)  # what is not read fills up soon
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", ports[port.kind]))
    peer = Peer(*await asyncio.open_connection(sock=client))
    scene.peers.append(peer)
    return peer


async def header_begun(scene: Scene, port: Port) -> Peer:
    peer = await connected(scene, port)
    peer.writer.write(PROXY[:20] if port.proxied else b"EHL")
    return peer


async def before_tls(scene: Scene, port: Port) -> Peer:
    """A handshake is due: nothing of it came."""
    peer = await connected(scene, port)
    if port.proxied:
        peer.writer.write(PROXY)
    if port.tls != "implicit":
        await peer.reply()
        await peer.say("EHLO a")
        await peer.say("STARTTLS")
    return peer


async def in_handshake(scene: Scene, port: Port) -> Peer:
    peer = await before_tls(scene, port)
    peer.writer.write(HALF_A_HELLO)
    return peer


async def greeted(scene: Scene, port: Port) -> Peer:
    if port.tls:
        peer = await before_tls(scene, port)
        await peer.start_tls(client_context())
        if port.tls == "implicit":
            await peer.reply()
        return peer
    peer = await connected(scene, port)
    if port.proxied:
        peer.writer.write(PROXY)
    await peer.reply()
    return peer


async def in_command(scene: Scene, port: Port) -> Peer:
    peer = await greeted(scene, port)
    await peer.say("EHLO a")
    peer.writer.write(b"MAIL FROM:<me@near")
    return peer


async def in_auth(scene: Scene, port: Port) -> Peer:
    peer = await greeted(scene, port)
    await peer.say("EHLO a")
    assert (await peer.say("AUTH LOGIN")).startswith("334 ")
    return peer


async def in_content(scene: Scene, port: Port) -> Peer:
    """The body is begun in the blob store."""
    peer = await greeted(scene, port)
    await peer.say("EHLO a")
    if port.kind is not ListenerKind.RELAY:
        assert (await peer.say("AUTH PLAIN AHNob3AAY29ycmVjdCBob3JzZQ==")).startswith("235 ")
    sender = "near" if port.kind is ListenerKind.RELAY else "shop"
    peer.writer.write(ENVELOPE.replace(b"near", sender.encode()))
    assert [(await peer.reply())[:3] for _ in range(2)] == ["250", "250"]
    assert (await peer.say("DATA")).startswith("354 ")
    peer.writer.write(LINES)
    return peer


async def unread(scene: Scene, port: Port) -> Peer:
    """So much is answered that the replies cannot go out."""
    peer = await greeted(scene, port)
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    peer.writer.write(b"EHLO a\r\n" * 8_000)
    return peer


ANYWHERE = (connected, header_begun, greeted, in_command, in_auth, in_content, unread)
WITH_TLS = (before_tls, in_handshake)


async def everything(scene: Scene) -> list[Peer]:
    """Bring a connection into each state on each port."""
    cells: list[Awaitable[Peer]] = [
        state(scene, port) for state, port in itertools.product(ANYWHERE, PORTS.values())
    ]
    cells += [
        state(scene, port)
        for state, port in itertools.product(WITH_TLS, PORTS.values())
        if port.tls
    ]
    return list(await asyncio.gather(*cells))


# ---------------------------------------------------------------- ways of leaving


def close(peer: Peer) -> None:
    """Close as the protocol has it: a FIN, under TLS after a close_notify."""
    peer.writer.close()


def vanish(peer: Peer) -> None:
    """Close the socket without a close_notify."""
    peer.writer.transport.abort()


def reset(peer: Peer) -> None:
    connection = peer.writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.writer.transport.abort()


def half_close(peer: Peer) -> None:
    """Say that nothing more comes, and stay."""
    connection = socket.socket(fileno=peer.writer.get_extra_info("socket").fileno())
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
    connection.detach()


def stay_silent(_: Peer) -> None:
    """Say nothing more, ever."""


WAYS = {
    "close": close,
    "vanish": vanish,
    "reset": reset,
    "half-close": half_close,
    "silence": stay_silent,
}


class Bodies:
    """Counts the bodies that are begun and neither finished nor given up."""

    def __init__(self, scene: Scene) -> None:
        self.begun = 0
        self.open = 0
        self._write_body = scene.spool.write_body
        scene.spool.write_body = self._begin  # type: ignore[method-assign]

    def _begin(self, **options: Any) -> Any:
        writer = self._write_body(**options)
        self.begun += 1
        self.open += 1
        abort = writer.abort

        async def aborted() -> None:
            await abort()
            self.open -= 1

        writer.abort = aborted  # type: ignore[method-assign]
        return writer


def places(scene: Scene) -> tuple[int, int]:
    return len(scene.server.connections), int(metrics.OPEN_SESSIONS._value.get())


async def gone(scene: Scene, before: set[asyncio.Task[Any]]) -> None:
    """Wait until no place is taken and no task is left that was not there before."""
    known = before | {asyncio.current_task()}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patient(15)):
            while places(scene) != (0, 0) or asyncio.all_tasks() - known:
                await asyncio.sleep(0.01)
    assert [vars(place.holder) for place in scene.server.connections] == []
    assert places(scene) == (0, 0)
    assert asyncio.all_tasks() - known == set()


@contextlib.asynccontextmanager
async def ingress(tls: Path, folder: Path, *, idle: timedelta) -> AsyncIterator[Scene]:
    scene = await start_ingress(
        tls=tls,
        insecure_auth=True,
        idle=idle,
        inline_size=1024,
        junk_commands=10**9,
    )
    try:
        await scene.configure(MANIFESTS, folder)
        yield scene
    finally:
        await scene.end()


async def leave(tls: Path, folder: Path, way: Callable[[Peer], None]) -> None:
    soon = timedelta(seconds=1 if way is stay_silent else 300)
    async with ingress(tls, folder, idle=soon) as scene:
        bodies, before = Bodies(scene), asyncio.all_tasks()
        peers = await everything(scene)
        for peer in peers:
            way(peer)
        await gone(scene, before)
        assert bodies.begun
        assert bodies.open == 0
        assert scene.records == []
        await drained(scene, seconds=60)


async def drained(scene: Scene, *, seconds: float) -> None:
    async with asyncio.timeout(patient(1)):
        await scene.server.drain(seconds=seconds)


async def drain(tls: Path, folder: Path) -> None:
    async with ingress(tls, folder, idle=timedelta(minutes=5)) as scene:
        bodies, before = Bodies(scene), asyncio.all_tasks()
        await everything(scene)
        await drained(scene, seconds=0.1)
        await gone(scene, before)
        assert bodies.open == 0


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_of_a_connection(
    way: str, loop: str, tmp_path: Path, certificate_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_LINGER", 0.5)
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(leave(certificate_folder, tmp_path, WAYS[way]))


@pytest.mark.parametrize("loop", LOOPS)
def test_nothing_is_left_after_our_own_drain(
    loop: str, tmp_path: Path, certificate_folder: Path
) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(drain(certificate_folder, tmp_path))
