"""Refusals to one network, counted over all its sessions and in the whole cluster."""

import asyncio
from typing import Any

import pytest

from postroad.acceptance.admission import ListenerKind
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.memory.spool import MemoryCluster
from postroad.testing.patience import patient
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.ingress import OpenScene, Scene

HERE, THERE = "192.0.2.1", "198.51.100.9"
NOBODY = "RCPT TO:<nobody@here.example>"


async def session_of(scene: Scene, client: str) -> SmtpPeer:
    """Open a session from a client's address, as far as its recipients."""
    peer = await scene.peer_from(client, ListenerKind.RELAY)
    await peer.envelope("a@elsewhere.example")
    return peer


async def refused(scene: Scene, client: str) -> bool:
    """Ask for a recipient that does not exist; return whether the session has ended with it."""
    peer = await session_of(scene, client)
    assert (await peer.say(NOBODY)).startswith("550 5.1.1 ")
    said = await peer.say("NOOP")
    return said.startswith("421 4.7.0 ")


async def test_refusals_count_over_all_sessions_of_a_network(open_scene: OpenScene) -> None:
    scene = await open_scene(rejections_per_network=3)
    assert [await refused(scene, HERE) for _ in range(5)] == [False] * 3 + [True] * 2
    assert not await refused(scene, THERE)


async def test_an_ipv6_network_counts_as_one(open_scene: OpenScene) -> None:
    scene = await open_scene(rejections_per_network=3)
    ended = [await refused(scene, f"2001:db8::{number}") for number in range(1, 6)]
    assert ended == [False] * 3 + [True] * 2
    assert not await refused(scene, "2001:db8:0:1::1")


async def test_refusals_count_over_the_whole_cluster(open_scene: OpenScene) -> None:
    cluster = MemoryCluster()
    one = await open_scene(cluster=cluster, rejections_per_network=4)
    two = await open_scene(cluster=cluster, rejections_per_network=4)
    assert [await refused(one, HERE) for _ in range(3)] == [False] * 3
    assert [await refused(two, HERE) for _ in range(3)] == [False, True, True]


async def test_good_mail_passes_from_where_much_was_refused(open_scene: OpenScene) -> None:
    scene = await open_scene(rejections_per_network=1)
    assert [await refused(scene, HERE) for _ in range(2)] == [False, True]
    peer = await session_of(scene, HERE)
    assert (await peer.say("RCPT TO:<known@here.example>")).startswith("250 ")
    assert (await peer.message()).startswith("250 ")


async def test_while_the_counts_are_away_each_process_counts(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> int:
        raise SpoolUnavailable("no answer")

    scene = await open_scene(rejections_per_network=3)
    monkeypatch.setattr(scene.spool.usage, "lease", away)
    assert [await refused(scene, HERE) for _ in range(5)] == [False] * 3 + [True] * 2


async def test_a_process_tells_the_others_only_now_and_then(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = await open_scene(rejections=1000, rejections_per_network=100)
    leased: list[int] = []

    async def lease(_: str, *, amount: int, **__: Any) -> int:
        leased.append(amount)
        return amount

    monkeypatch.setattr(scene.spool.usage, "lease", lease)
    peer = await session_of(scene, HERE)
    for _ in range(40):
        assert (await peer.say(NOBODY)).startswith("550 ")
    assert leased == [5] * 8


async def test_nothing_more_is_refused_to_a_network_until_the_cluster_has_answered(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = await open_scene(rejections_per_network=40)
    asked, answer = asyncio.Event(), asyncio.Event()

    async def lease(*_: Any, **__: Any) -> int:
        asked.set()
        await answer.wait()
        return 0

    monkeypatch.setattr(scene.spool.usage, "lease", lease)
    first, others = await session_of(scene, HERE), [await session_of(scene, HERE) for _ in "abc"]
    assert (await first.say(NOBODY)).startswith("550 ")
    last = asyncio.create_task(first.say(NOBODY))
    async with asyncio.timeout(patient(5)):
        await asked.wait()
        waiting = [asyncio.create_task(peer.say(NOBODY)) for peer in others]
        elsewhere = await session_of(scene, THERE)
        assert (await elsewhere.say(NOBODY)).startswith("550 ")
        assert not any(each.done() for each in (last, *waiting))
        answer.set()
        assert all(said.startswith("550 ") for said in await asyncio.gather(last, *waiting))
        for peer in (first, *others):
            assert (await peer.say("NOOP")).startswith("421 4.7.0 ")
    assert (await elsewhere.say("NOOP")).startswith("250 ")


async def test_what_could_not_be_told_is_told_with_the_next_slice(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = await open_scene(rejections=1000, rejections_per_network=40)
    leased: list[int] = []

    async def lease(_: str, *, amount: int, **__: Any) -> int:
        leased.append(amount)
        if len(leased) in (1, 3, 4):
            raise SpoolUnavailable("no answer")
        return amount

    monkeypatch.setattr(scene.spool.usage, "lease", lease)
    peer = await session_of(scene, HERE)
    for _ in range(12):
        assert (await peer.say(NOBODY)).startswith("550 ")
    assert leased == [2, 4, 2, 4, 6, 2]
