"""The memory of connections: counted, shared, and taken back from strangers first."""

import asyncio
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, cast

import pytest

from postroad.acceptance.admission import ListenerKind
from postroad.ingress.connections.memory import Memory
from postroad.ingress.connections.table import Connections, Full, Holder
from postroad.ingress.limits import IngressLimits
from postroad.telemetry.metrics import REGISTRY
from postroad.testing.patience import patient
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.ingress import OpenScene, Scene
from postroad.units.quantities import ByteSize
from postroad_harness.connections.hoard import ANYBODY, hoard

MIB = 1024 * 1024


@dataclass
class Keeper:
    known: bool = False
    storing: bool = False


@dataclass
class Place:
    holder: Keeper | None
    held: int = 0


def full(memory: Memory, *octets: int, **keeper: Any) -> list[Place]:
    places = [Place(Keeper(**keeper)) for _ in octets]
    for place, held in zip(places, octets, strict=True):
        memory.count(place, held)
    return places


def test_while_memory_is_scarce_a_stranger_gets_no_more_than_its_share() -> None:
    memory = Memory(ByteSize(4000))  # scarce from 1000 on
    small, large = full(memory, 100, 899)
    assert not memory.scarce
    assert memory.has_room(large, 2, known=False)
    memory.count(large, 900)
    assert memory.scarce
    assert not memory.has_room(large, 2, known=False)
    assert memory.has_room(small, 2, known=False)
    assert memory.has_room(large, 2, known=True)
    memory.count(large, 1900)
    assert not memory.has_room(large, 2, known=True)  # there is an end for Clients too
    memory.count(large, 0)
    assert memory.has_room(large, 2, known=False)


def test_strangers_who_hold_most_go_first_and_no_more_of_them_than_need_be() -> None:
    memory = Memory(ByteSize(4000))  # full for strangers at 1500, for all at 2000
    one, two, three = full(memory, 300, 500, 400)
    (client,) = full(memory, 600, known=True)
    assert memory.full
    assert memory.to_turn_out([one, two, three, client]) == [two]
    memory.count(client, 1900)
    assert memory.to_turn_out([one, two, three, client]) == [two, three, one]
    memory.count(client, 2100)
    assert memory.to_turn_out([one, two, three, client]) == [two, three, one, client]


def test_who_holds_less_than_its_share_stays() -> None:
    memory = Memory(ByteSize(4000))
    places = [*full(memory, 3000, storing=True), *full(memory, 200, 600, 300)]
    assert [place.held for place in memory.to_turn_out(places)] == [600, 300]


def test_a_message_that_is_being_stored_is_not_broken_off() -> None:
    memory = Memory(ByteSize(4000))
    places = [*full(memory, 2000, storing=True), *full(memory, 400), Place(None, 500)]
    assert memory.to_turn_out(places) == [places[1]]


def test_what_is_being_stored_counts_until_it_is_also_when_its_client_has_left() -> None:
    connections = Connections(IngressLimits())
    place = connections.take(IPv4Address("192.0.2.1"), lambda _: False)
    assert not isinstance(place, Full)
    place.holder = cast(Holder, Keeper(storing=True))
    connections.count(place, 1000)
    connections.give_back(place)
    assert (len(connections), connections.memory.held) == (0, 1000)
    connections.count(place, 2000)  # it has no place to take more for
    assert connections.memory.held == 1000
    connections.count(place, 0)
    assert connections.memory.held == 0


# ---------------------------------------------------------------- sessions

LONG = "x" * 240


async def stranger(scene: Scene, kind: ListenerKind = ListenerKind.RELAY) -> SmtpPeer:
    """Open a session from an address that no Client has."""
    port = scene.ports[kind]
    local = ("127.0.0.2", 0)
    peer = SmtpPeer(*await asyncio.open_connection("127.0.0.1", port, local_addr=local))
    scene.peers.append(peer)
    assert (await peer.reply()).startswith("220 ")
    return peer


async def test_a_stranger_with_many_recipients_hears_452_and_a_client_goes_on(
    open_scene: OpenScene,
) -> None:
    scene = await open_scene(ANYBODY, memory=ByteSize(400_000))
    hoarder, client = await stranger(scene), await scene.peer()
    await hoarder.envelope("a@b.example")
    said = [await hoarder.say(f"RCPT TO:<{n}{LONG}@any.example>") for n in range(300)]
    taken = [reply for reply in said if reply.startswith("250 ")]
    assert 100 < len(taken) < 250
    assert set(said[len(taken) :]) == {"452 4.3.1 too little memory for this now, try again later"}
    replies = await client.envelope(
        "me@near.example", *(f"{n}{LONG}@far.example" for n in range(40))
    )
    assert {reply[:4] for reply in replies} == {"250 "}
    assert (await client.message()).startswith("250 ")
    assert (await hoarder.message()).startswith("250 ")  # for those who were taken
    assert (await hoarder.envelope("a@b.example", "c@any.example"))[1].startswith("250 ")


async def test_content_of_a_stranger_is_refused_while_memory_is_scarce(
    open_scene: OpenScene,
) -> None:
    scene = await open_scene(ANYBODY, memory=ByteSize(400_000))
    peer = await stranger(scene)
    await peer.envelope("a@b.example", "c@any.example")
    content = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 900
    assert (await peer.say("DATA")).startswith("354 ")
    peer.writer.write(content)  # it takes as much again when it is stored
    client = await scene.peer()  # what came first has been looked at by now
    assert (await peer.send(b"more\r\n.\r\n")).startswith("452 4.3.1 ")
    assert scene.records == []
    await peer.say("MAIL FROM:<a@b.example>")
    await peer.say("RCPT TO:<c@any.example>")
    assert not scene.server.scarce  # all of it was given back
    assert (await peer.message()).startswith("250 ")
    await client.envelope("me@near.example", "you@far.example")
    assert (await client.message(content)).startswith("250 ")


async def test_the_stranger_who_holds_most_is_turned_out(open_scene: OpenScene) -> None:
    scene = await open_scene(ANYBODY, memory=ByteSize(300_000), rejections=2)
    small, hoarder, client = await stranger(scene), await stranger(scene), await scene.peer()
    await client.envelope("me@near.example", *(f"{n}{LONG}@far.example" for n in range(64)))
    await hoarder.envelope("a@b.example")
    refused = b"RCPT TO:<x@elsewhere.example>\r\n" * 2  # the second is answered late
    hoarder.writer.write(refused + (b"NOOP " + b"x" * 200 + b"\r\n") * 600)
    said = []
    while reply := await hoarder.reply():
        said.append(reply)
    assert said[-1] == "421 4.3.1 too little memory for you now, try again later"
    assert (await small.say("NOOP")).startswith("250 ")
    assert (await client.message()).startswith("250 ")


async def test_who_held_much_a_moment_ago_is_not_turned_out(open_scene: OpenScene) -> None:
    """What a connection gives back is counted once a second, or when somebody has to go."""
    scene = await open_scene(ANYBODY, memory=ByteSize(1_200_000))
    connections = scene.server.connections
    done = await stranger(scene)
    (place,) = connections
    await done.envelope("a@b.example", "c@any.example")
    assert (await done.message((b"x" * 70 + b"\r\n") * 1400)).startswith("250 ")
    assert place.held > 200_000
    await stranger(scene)
    (other,) = set(connections) - {place}
    scene.server.hold(other, 400_000)
    assert connections.memory.held < 50_000
    assert (await done.say("NOOP")).startswith("250 ")


async def test_what_came_at_once_under_tls_counts_until_the_connection_ends(
    open_scene: OpenScene,
) -> None:
    scene = await open_scene(junk_commands=10**9)
    memory = scene.server.connections.memory
    peer = await scene.peer(ListenerKind.SUBMISSIONS)
    peer.writer.write(b"RSET\r\n" * 10_000)
    for _ in range(10_000):
        await peer.reply()
    assert memory.held > 3 * 16 * 1024
    peer.writer.transport.abort()
    async with asyncio.timeout(patient(5)):
        while memory.held:
            await asyncio.sleep(0.01)


async def test_what_is_held_is_counted_once_a_second_and_shown(scene: Scene) -> None:
    peer = await scene.peer()
    await peer.envelope("me@near.example", *(f"{n}{LONG}@far.example" for n in range(10)))
    async with asyncio.timeout(patient(10)):
        while (REGISTRY.get_sample_value("postroad_ingress_held_bytes") or 0) < 10 * len(LONG):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("line", [b"x" * 60_000, b"x" * 70 + b"\r\n"])
async def test_a_client_that_says_much_while_it_is_held_back_is_read_on(
    open_scene: OpenScene, line: bytes
) -> None:
    """It is not read from meanwhile, and has to be when it is waited for again."""
    scene = await open_scene(rejections=2, inline_size=1024)
    peer = await scene.peer()
    await peer.envelope("a@elsewhere.example")
    content = line * (400_000 // len(line))
    said = (
        b"RCPT TO:<known@here.example>\r\n" + b"RCPT TO:<x@elsewhere.example>\r\n" * 2 + b"DATA\r\n"
    )
    peer.writer.write(said + content + b"\r\n.\r\n")
    heard = [(await peer.reply())[:3] for _ in range(5)]
    assert heard == ["250", "550", "550", "354", "250"]
    assert await scene.body() == content + b"\r\n"


def test_many_who_hold_all_they_can_take_a_bounded_part_of_the_memory() -> None:
    """Takes 10 s: a process is started and 150 strangers say 100 KB each."""
    seen = hoard(connections=150, recipients=300, memory=48 * MIB)
    assert seen.refused > 0
    assert seen.accepted >= 2
    assert seen.failed == 0
    assert seen.peak - seen.idle < 32 * MIB  # over 40 MB without a limit
