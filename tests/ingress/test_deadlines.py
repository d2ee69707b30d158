"""Time limits are for steps: a client that sends an octet now and then gets no more time."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from postroad.acceptance.admission import ListenerKind
from postroad.ingress.listen import server
from postroad.testing.patience import patient
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.ingress import OpenScene, Scene

SHORT = timedelta(seconds=1)


async def drip(peer: SmtpPeer, octets: bytes) -> str:
    """Send octets one by one, ten a second, until the server has had enough of it."""

    async def send() -> None:
        for octet in octets:
            peer.writer.write(bytes([octet]))
            await asyncio.sleep(0.1)

    dripping = asyncio.create_task(send())
    try:
        async with asyncio.timeout(patient(10)):
            return await peer.reply()
    finally:
        dripping.cancel()


async def test_a_command_has_a_deadline(open_scene: OpenScene) -> None:
    scene = await open_scene(idle=SHORT)
    assert (await drip(await scene.peer(), b"x" * 200)).startswith("421 4.4.2 ")


async def test_a_whole_auth_exchange_has_one(open_scene: OpenScene) -> None:
    scene = await open_scene(idle=SHORT, insecure_auth=True)
    peer = await scene.peer()
    await peer.say("EHLO a")
    assert (await peer.say("AUTH LOGIN")).startswith("334 ")
    assert (await drip(peer, b"x" * 200)).startswith("421 4.4.2 ")


async def begin(scene: Scene) -> SmtpPeer:
    peer = await scene.peer()
    await peer.envelope("me@near.example", "you@far.example")
    assert (await peer.say("DATA")).startswith("354 ")
    return peer


async def test_content_has_to_come_at_a_least_rate(open_scene: OpenScene) -> None:
    scene = await open_scene(idle=SHORT)
    assert (await drip(await begin(scene), b"x\r\n" * 200)).startswith("421 4.4.2 ")
    assert scene.records == []


async def test_content_that_comes_fast_enough_may_take_long(open_scene: OpenScene) -> None:
    """Longer than the idle limit, at more than the least rate."""
    scene = await open_scene(idle=SHORT, data_rate=100)
    peer = await begin(scene)
    began = time.monotonic()
    while time.monotonic() - began < 3:
        peer.writer.write(b"x" * 98 + b"\r\n")
        await asyncio.sleep(0.1)
    assert (await peer.send(b".\r\n")).startswith("250 ")


async def test_while_places_are_scarce_clients_have_less_time(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SCARCE_TIMEOUT", 0.5)
    scene = await open_scene(connections=4)
    first = await scene.peer()
    for _ in range(2):
        await scene.peer()
    assert (await first.reply()).startswith("421 4.4.2 ")


async def test_the_last_places_are_kept_for_clients(open_scene: OpenScene) -> None:
    """127.0.0.1 is in a Client's networks; who comes from elsewhere hears 421."""
    scene = await open_scene(connections=4, kept_for_clients=50)
    strangers = [await connect_from(scene, "127.0.0.2") for _ in range(3)]
    heard = [await stranger.reply() for stranger in strangers]
    assert [reply[:3] for reply in heard] == ["220", "220", "421"]
    assert [(await (await scene.connect()).reply())[:3] for _ in range(3)] == ["220", "220", "421"]


async def connect_from(scene: Scene, address: str, **options: Any) -> SmtpPeer:
    port = scene.ports[ListenerKind.RELAY]
    opened = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0), **options)
    peer = SmtpPeer(*opened)
    scene.peers.append(peer)
    return peer


async def test_a_half_closed_client_has_answers_to_all_it_pipelined(open_scene: OpenScene) -> None:
    scene = await open_scene()
    peer = await scene.peer()
    message = b"MAIL FROM:<me@near.example>\r\nRCPT TO:<you@far.example>\r\nDATA\r\nhello\r\n.\r\n"
    replies = await peer.all_replies(b"EHLO a\r\n" + message * 30 + b"QUIT\r\n")
    assert [reply[:3] for reply in replies] == ["250", *["250", "250", "354", "250"] * 30, "221"]
    assert len(scene.records) == 30
