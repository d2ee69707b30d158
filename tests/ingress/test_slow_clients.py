"""Clients that stop in the middle: none holds a session, a slot or a message for ever."""

import asyncio
import contextlib
import ipaddress
import socket
import tracemalloc
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from postroad.acceptance.admission import ListenerKind, Sender
from postroad.acceptance.incoming import IncomingMessage
from postroad.acceptance.transaction import Transaction
from postroad.ingress.session import wire
from postroad.mail.address import Mailbox
from postroad.mail.envelope import Body
from postroad.mail.trace import ClientInfo
from postroad.testing.patience import patient
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.ingress import OpenScene, Scene

QUICK = timedelta(milliseconds=200)


class Deaf:
    """A client that talks and never reads a reply."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._rest = b""
        self._cut_off = False
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.setblocking(False)

    async def connect(self, scene: Scene) -> None:
        address = ("127.0.0.1", scene.ports[ListenerKind.RELAY])
        await asyncio.get_running_loop().sock_connect(self._socket, address)

    async def talk_until_nobody_listens(self) -> None:
        """Send commands until the server takes no more of them, or hangs up."""
        sending = asyncio.get_running_loop().sock_sendall
        try:
            while True:
                async with asyncio.timeout(0.3):
                    await sending(self._socket, b"HELP\r\n" * 10_000)
        except TimeoutError:
            pass
        except OSError:
            self._cut_off = True  # a slow machine: idle before the first word

    async def say_until_nobody_listens(self, command: bytes) -> int:
        """Send a command again and again until the server takes no more; return how often."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        octets, sent = command * 2_000, 0
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.3):
                    sent += await self._send_some(octets[sent % len(command) :])
        self._rest = octets[sent % len(command) : len(command)]
        return sent // len(command) + 1

    async def _send_some(self, octets: bytes) -> int:
        while True:
            with contextlib.suppress(BlockingIOError):
                return self._socket.send(octets)
            await asyncio.sleep(0.001)

    async def listen_at_last(self) -> AsyncIterator[bytes]:
        """Say the rest of the last command, and yield the replies as they come."""
        loop, partial = asyncio.get_running_loop(), b""
        while octets := await loop.sock_recv(self._socket, 65536):
            if self._rest:
                with contextlib.suppress(BlockingIOError):
                    self._rest = self._rest[self._socket.send(self._rest) :]
            *lines, partial = (partial + octets).split(b"\r\n")
            for line in lines:
                yield line

    async def until_cut_off(self) -> None:
        """Wait until the connection is reset, without reading anything."""
        while not self._cut_off and not self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            await asyncio.sleep(0.05)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
async def deaf() -> AsyncIterator[Deaf]:
    client = Deaf()
    yield client
    client.close()


async def test_a_client_that_reads_no_replies_is_idle_too(
    open_scene: OpenScene, deaf: Deaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it holds a session, and what is to be written to it, for as long as it likes."""
    monkeypatch.setattr(wire, "_LINGER", 0.1)
    scene = await open_scene(idle=QUICK, connections=1, junk_commands=10**9)
    await deaf.connect(scene)
    await deaf.talk_until_nobody_listens()
    async with asyncio.timeout(patient(20)):
        await deaf.until_cut_off()
    assert (await (await scene.peer()).say("NOOP")).startswith("250 ")  # its slot is free


async def test_a_client_that_reads_late_has_an_answer_to_all_it_said(
    open_scene: OpenScene, deaf: Deaf
) -> None:
    """What comes in while replies cannot go out is not forgotten once they can."""
    scene = await open_scene(junk_commands=10**9)
    await deaf.connect(scene)
    said = await deaf.say_until_nobody_listens(b"EHLO a\r\n")
    answered = -1  # the greeting
    async with asyncio.timeout(patient(20)):
        async for line in deaf.listen_at_last():
            assert line.startswith((b"220 ", b"250"))
            answered += line[3:4] == b" "
            if answered == said:
                break
    assert said > 1000


async def test_clients_that_stop_amid_large_messages_hold_up_nobody(open_scene: OpenScene) -> None:
    """However many they are: what a process can take at once is not used up by them."""
    scene = await open_scene(inline_size=1024)
    lines = (b"x" * 70 + b"\r\n") * 100
    for _ in range(40):
        (await until_content(scene)).writer.write(lines)
    async with asyncio.timeout(patient(5)):
        reply = await (await until_content(scene)).send(lines + b".\r\n")
    assert reply.startswith("250 2.0.0 ")


async def until_content(scene: Scene) -> SmtpPeer:
    peer = await scene.peer()
    await peer.envelope("a@near.example", "b@far.example")
    assert (await peer.say("DATA")).startswith("354 ")
    return peer


async def test_content_that_comes_in_tiny_pieces_takes_little_more_memory_than_its_size(
    scene: Scene,
) -> None:
    snapshot = scene.configuration.current
    assert snapshot is not None
    domain = snapshot.domains["here.example"].receive
    assert domain is not None
    transaction = Transaction(
        snapshot=snapshot,
        sender=Sender(None, None),
        client_info=ClientInfo(ipaddress.IPv4Address("192.0.2.1"), "192.0.2.1"),
        protocol="ESMTP",
        submitted=False,
        body=Body.SEVEN_BIT,
        smtputf8=False,
        recipients={Mailbox("known", "here.example"): domain.egress_path},
    )
    incoming = IncomingMessage(scene.server.tools, transaction, lambda: None)
    lines = [b"%x\r\n" % (number % 16) for number in range(40_000)]
    tracemalloc.start()
    try:
        for line in lines:
            await incoming.add(bytes(bytearray(line)))  # an object of its own, as from a socket
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 2 * incoming.size
    assert (await incoming.finish(bare=False)).is_positive
    assert await scene.body() == b"".join(lines)
