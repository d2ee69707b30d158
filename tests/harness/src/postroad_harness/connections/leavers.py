"""
Clients that leave: every state of a connection on every kind of port, and every way to end it.

The ingress tests play the whole matrix; the soak test plays it beside a load balancer's checks.
"""

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from postroad.acceptance.admission import ListenerKind
from postroad.telemetry.metrics import REGISTRY
from postroad.testing.patience import patient
from postroad.testing.peers.smtp_peer import SmtpPeer, client_context
from postroad.testing.processes.ingress import Scene

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


async def connected(scene: Scene, port: Port) -> SmtpPeer:
    """Nothing was sent yet: no header, no ClientHello, no command."""
    ports = scene.proxy_ports if port.proxied else scene.ports
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)  # what is not read fills up soon
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", ports[port.kind]))
    peer = SmtpPeer(*await asyncio.open_connection(sock=client))
    scene.peers.append(peer)
    return peer


async def header_begun(scene: Scene, port: Port) -> SmtpPeer:
    peer = await connected(scene, port)
    peer.writer.write(PROXY[:20] if port.proxied else b"EHL")
    return peer


async def before_tls(scene: Scene, port: Port) -> SmtpPeer:
    """A TLS handshake is due, and nothing of it was sent."""
    peer = await connected(scene, port)
    if port.proxied:
        peer.writer.write(PROXY)
    if port.tls != "implicit":
        await peer.reply()
        await peer.say("EHLO a")
        await peer.say("STARTTLS")
    return peer


async def in_handshake(scene: Scene, port: Port) -> SmtpPeer:
    peer = await before_tls(scene, port)
    peer.writer.write(HALF_A_HELLO)
    return peer


async def greeted(scene: Scene, port: Port) -> SmtpPeer:
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


async def in_command(scene: Scene, port: Port) -> SmtpPeer:
    peer = await greeted(scene, port)
    await peer.say("EHLO a")
    peer.writer.write(b"MAIL FROM:<me@near")
    return peer


async def in_auth(scene: Scene, port: Port) -> SmtpPeer:
    peer = await greeted(scene, port)
    await peer.say("EHLO a")
    assert (await peer.say("AUTH LOGIN")).startswith("334 ")
    return peer


async def in_content(scene: Scene, port: Port) -> SmtpPeer:
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


async def unread(scene: Scene, port: Port) -> SmtpPeer:
    """There are so many replies that they cannot be sent, because the client does not read."""
    peer = await greeted(scene, port)
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    peer.writer.write(b"EHLO a\r\n" * 8_000)
    return peer


State = Callable[[Scene, Port], Awaitable[SmtpPeer]]
ANYWHERE: tuple[State, ...] = (
    connected,
    header_begun,
    greeted,
    in_command,
    in_auth,
    in_content,
    unread,
)
WITH_TLS: tuple[State, ...] = (before_tls, in_handshake)


def everything() -> list[tuple[State, Port]]:
    """Return each state on each port that has it."""
    anywhere = itertools.product(ANYWHERE, PORTS.values())
    with_tls = ((state, port) for state in WITH_TLS for port in PORTS.values() if port.tls)
    return [*anywhere, *with_tls]


# ---------------------------------------------------------------- ways of leaving


def close(peer: SmtpPeer) -> None:
    """Close properly: with a FIN, under TLS after a close_notify."""
    peer.writer.close()


def vanish(peer: SmtpPeer) -> None:
    """Close the socket without a close_notify."""
    peer.writer.transport.abort()


def reset(peer: SmtpPeer) -> None:
    connection = peer.writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.writer.transport.abort()


def half_close(peer: SmtpPeer) -> None:
    """Shut down the sending side, and stay connected."""
    connection = socket.socket(fileno=peer.writer.get_extra_info("socket").fileno())
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
    connection.detach()


def stay_silent(_: SmtpPeer) -> None:
    """Stay connected and send nothing more."""


WAYS = {
    "close": close,
    "vanish": vanish,
    "reset": reset,
    "half-close": half_close,
    "silence": stay_silent,
}


def places(scene: Scene) -> tuple[int, int]:
    shown = REGISTRY.get_sample_value("postroad_ingress_open_sessions")
    return len(scene.server.connections), int(shown or 0)


async def gone(scene: Scene, before: set[asyncio.Task[Any]]) -> None:
    """Wait until no slot is in use and no task is left that was not there before."""
    known = before | {asyncio.current_task()}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patient(15)):
            for _ in itertools.count():
                if places(scene) == (0, 0) and not asyncio.all_tasks() - known:
                    break
                await asyncio.sleep(0.01)
    assert [vars(place.holder) for place in scene.server.connections] == []
    assert places(scene) == (0, 0)
    assert asyncio.all_tasks() - known == set()
