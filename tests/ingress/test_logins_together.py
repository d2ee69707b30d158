"""Guesses are counted over the whole cluster, and so is where a name is at home."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from postroad.ingress.auth import brake
from postroad.ingress.auth import sasl as auth
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.memory.spool import MemoryCluster
from postroad.testing.processes.ingress import OpenScene, Scene
from postroad_harness.setups.logins import HERE, THERE, guess, log_in, prove, session_of


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brake, "FIRST_DELAY", timedelta())


async def test_guesses_count_over_the_whole_cluster(open_scene: OpenScene) -> None:
    cluster = MemoryCluster()
    one = await open_scene(cluster=cluster, failed_logins_per_name=4)
    two = await open_scene(cluster=cluster, failed_logins_per_name=4)
    failed = (await guess(one, HERE, "shop", 3)) + (await guess(two, HERE, "shop", 3))
    assert failed.count("535") <= 5  # the fifth is how a process learns of the others' guesses
    assert (await log_in(two, HERE, "shop", "correct horse")).startswith("454 ")


async def test_a_process_checks_one_guess_more_than_the_cluster_allows(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many come at once: the next waits until the count has heard of the one before."""
    cluster = MemoryCluster()
    one = await open_scene(cluster=cluster, failed_logins_per_name=4)
    two = await open_scene(cluster=cluster, failed_logins_per_name=4)
    assert await guess(one, HERE, "shop", 4) == ["535"] * 4
    lease = two.spool.usage.lease

    async def slow(*arguments: Any, **named: Any) -> int:
        for _ in range(100):  # turns of the loop, in which the others would be checked
            await asyncio.sleep(0)
        return await lease(*arguments, **named)

    monkeypatch.setattr(two.spool.usage, "lease", slow)
    monkeypatch.setattr(auth, "password_matches", lambda *_: False)
    peers = [await session_of(two, HERE) for _ in range(4)]
    said = await asyncio.gather(*(prove(peer, "shop", f"{n}") for n, peer in enumerate(peers)))
    assert sorted(reply[:3] for reply in said) == ["454"] * 3 + ["535"]


async def shut(scene: Scene, client: str, most: int) -> None:
    """Guess until a client's network is shut out."""
    said = [(await log_in(scene, client, f"name {n}", "x"))[:3] for n in range(most + 1)]
    assert said == ["535"] * most + ["454"]


async def test_who_is_at_home_in_a_network_is_so_in_every_process(open_scene: OpenScene) -> None:
    cluster = MemoryCluster()
    one = await open_scene(cluster=cluster, failed_logins=4)
    assert (await log_in(one, HERE, "shop", "correct horse")).startswith("235 ")
    another = await open_scene(cluster=cluster, failed_logins=4)  # begun later, as by a restart
    await shut(another, HERE, 4)
    assert (await log_in(another, HERE, "shop", "correct horse")).startswith("235 ")


async def test_who_never_logged_in_from_a_shut_network_stays_out_however_often_they_ask(
    open_scene: OpenScene,
) -> None:
    cluster = MemoryCluster()
    one = await open_scene(cluster=cluster, failed_logins=4)
    assert (await log_in(one, THERE, "shop", "correct horse")).startswith("235 ")
    another = await open_scene(cluster=cluster, failed_logins=4)
    await shut(another, HERE, 4)
    for _ in range(3):
        assert (await log_in(another, HERE, "shop", "correct horse")).startswith("454 4.7.0 ")


async def test_a_name_at_home_is_no_more_guessed_for_being_looked_up(open_scene: OpenScene) -> None:
    cluster = MemoryCluster()
    one = await open_scene(cluster=cluster, failed_logins=4, failed_logins_per_name=2)
    assert (await log_in(one, HERE, "shop", "correct horse")).startswith("235 ")
    another = await open_scene(cluster=cluster, failed_logins=4, failed_logins_per_name=2)
    await shut(another, HERE, 4)
    assert await guess(another, HERE, "shop", 4) == ["535", "535", "454", "454"]
    assert (await log_in(another, HERE, "shop", "correct horse")).startswith("454 ")


async def test_while_past_logins_are_away_each_process_knows_its_own(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> bool:
        raise SpoolUnavailable("no answer")

    cluster = MemoryCluster()
    one = await open_scene(cluster=cluster, failed_logins=4)
    assert (await log_in(one, HERE, "shop", "correct horse")).startswith("235 ")
    another = await open_scene(cluster=cluster, failed_logins=4)
    await shut(another, HERE, 4)
    for scene in (one, another):
        monkeypatch.setattr(scene.spool.past_logins, "noted", away)
    assert (await log_in(another, HERE, "shop", "correct horse")).startswith("454 4.7.0 ")
    await log_in(one, HERE, "another name", "x")  # and so it hears of the others' guesses
    assert (await log_in(one, HERE, "shop", "correct horse")).startswith("235 ")


async def test_guesses_of_many_names_count_over_the_whole_cluster(open_scene: OpenScene) -> None:
    cluster = MemoryCluster()
    one = await open_scene(cluster=cluster, failed_logins=4)
    two = await open_scene(cluster=cluster, failed_logins=4)
    for scene in (one, two, one, two, two):
        await log_in(scene, HERE, f"name {scene.ports}{len(scene.peers)}", "x")
    assert (await log_in(two, HERE, "shop", "correct horse")).startswith("454 ")


async def test_while_the_counts_are_away_each_process_brakes_and_right_logins_pass(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> int:
        raise SpoolUnavailable("no answer")

    scene = await open_scene(failed_logins_per_name=3)
    monkeypatch.setattr(scene.spool.usage, "lease", away)
    assert await guess(scene, HERE, "shop", 4) == ["535", "535", "535", "454"]
    assert (await log_in(scene, THERE, "shop", "correct horse")).startswith("235 ")
