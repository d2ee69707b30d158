"""However a client leaves, its slot and everything that its session holds are freed at once."""

import asyncio
import gc
import socket
import struct
from typing import Any

import pytest

from postroad.ingress.session import session
from postroad.spool.interface import StoreAck
from postroad.telemetry.metrics import REGISTRY
from postroad.testing.patience import patient
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.ingress import OpenScene, Scene

ENVELOPE = b"EHLO a\r\nMAIL FROM:<me@near.example>\r\nRCPT TO:<you@far.example>\r\n"


def reset(peer: SmtpPeer) -> None:
    """Leave as a crashing client does: the other side reads an error, not an end."""
    connection = peer.writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.writer.transport.abort()


def open_sessions() -> int:
    return int(REGISTRY.get_sample_value("postroad_ingress_open_sessions") or 0)


async def until_all_left() -> None:
    async with asyncio.timeout(patient(10)):
        while open_sessions():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "said",
    [b"", b"EHLO a\r\n", ENVELOPE, ENVELOPE + b"DATA\r\n", ENVELOPE + b"DATA\r\nhello\r\n"],
    ids=["greeted", "hello", "envelope", "before content", "in content"],
)
async def test_a_reset_connection_gives_its_place_back(open_scene: OpenScene, said: bytes) -> None:
    scene = await open_scene(connections_per_address=5)
    for _ in range(3):
        peers = [await scene.peer() for _ in range(5)]
        for peer in peers:
            peer.writer.write(said)
            for _ in range(said.count(b"\r\n") - said.count(b"hello")):
                await peer.reply()
            reset(peer)
        await until_all_left()
    assert (await (await scene.peer()).say("NOOP")).startswith("250 ")


async def test_a_session_that_ended_leaves_nothing_to_be_collected(scene: Scene) -> None:
    """Cycles of objects, one for each connection, would have the collector run all the time."""

    def sessions() -> int:
        return sum(isinstance(each, session.SmtpSession) for each in gc.get_objects())

    gc.disable()
    try:
        before = sessions()
        for _ in range(3):
            peer = await scene.peer()
            peer.writer.write(ENVELOPE + b"QUIT\r\n")
            while not (await peer.reply()).startswith("221 "):
                pass
            peer.writer.close()
        await until_all_left()
        await asyncio.sleep(0)
        assert sessions() == before
    finally:
        gc.enable()


async def test_a_drain_does_not_wait_for_those_who_are_gone(scene: Scene) -> None:
    peers = [await scene.peer() for _ in range(5)]
    for peer in peers:
        reset(peer)
    await until_all_left()
    async with asyncio.timeout(patient(10)):
        await scene.server.drain(seconds=60)


async def test_a_message_whole_when_its_client_leaves_is_not_cut_off(scene: Scene) -> None:
    """The queue may have it already: it is stored, its place is free meanwhile."""
    storing, go_on = asyncio.Event(), asyncio.Event()
    accept = scene.spool.accept

    async def slow_accept(*arguments: Any, **named: Any) -> StoreAck:
        storing.set()
        await go_on.wait()
        return await accept(*arguments, **named)

    scene.spool.accept = slow_accept  # type: ignore[method-assign]
    peer = await scene.peer()
    await peer.envelope("me@near.example", "you@far.example")
    await peer.say("DATA")
    peer.writer.write(b"hello\r\n.\r\n")
    await storing.wait()
    reset(peer)
    await until_all_left()
    draining = asyncio.create_task(scene.server.drain(seconds=60))
    await asyncio.sleep(0)
    assert not draining.done()
    go_on.set()
    await draining
    assert len(scene.records) == 1


class Stalled:
    """A body that the blob store takes nothing of."""

    held = 0

    def __init__(self) -> None:
        self.waits, self.given_up = asyncio.Event(), asyncio.Event()

    async def write(self, _: bytes) -> None:
        self.waits.set()
        await asyncio.Event().wait()

    async def abort(self) -> None:
        self.given_up.set()


async def test_content_that_waits_for_the_store_is_given_up_when_its_client_leaves(
    open_scene: OpenScene,
) -> None:
    """Else those who come and go have any number of bodies in memory while the store is slow."""
    scene = await open_scene(inline_size=1024)
    stalled = Stalled()
    scene.spool.write_body = lambda **_: stalled  # type: ignore[method-assign,assignment]
    peer = await scene.peer()
    await peer.envelope("me@near.example", "you@far.example")
    await peer.say("DATA")
    peer.writer.write((b"x" * 70 + b"\r\n") * 100)
    await stalled.waits.wait()
    reset(peer)
    async with asyncio.timeout(patient(5)):
        await stalled.given_up.wait()
    await until_all_left()
    assert scene.server.connections.memory.held == 0
