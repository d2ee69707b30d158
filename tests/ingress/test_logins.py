"""Guessing passwords over the wire: it is slowed down, and right passwords are accepted."""

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from postroad.ingress.auth import brake
from postroad.ingress.auth import sasl as auth
from postroad.policy.secrets import scram
from postroad.spool.event import EventType
from postroad.telemetry import metrics
from postroad.testing.patience import patient
from postroad.testing.processes.ingress import MANIFESTS, OpenScene
from postroad_harness.setups.logins import HERE, THERE, guess, log_in, prove, session_of


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brake, "FIRST_DELAY", timedelta())


async def test_guesses_of_one_name_end_in_454_and_its_owner_elsewhere_logs_in(
    open_scene: OpenScene,
) -> None:
    scene = await open_scene(failed_logins_per_name=3)
    assert await guess(scene, HERE, "shop", 5) == ["535", "535", "535", "454", "454"]
    assert (await log_in(scene, HERE, "shop", "correct horse")).startswith("454 4.7.0 ")
    assert (await log_in(scene, THERE, "shop", "correct horse")).startswith("235 ")


async def test_both_forms_of_a_username_are_counted_together(open_scene: OpenScene) -> None:
    scene = await open_scene(failed_logins_per_name=3)
    heard = await guess(scene, HERE, "shop", 2) + await guess(scene, HERE, "default/shop", 2)
    assert heard == ["535", "535", "535", "454"]


@pytest.mark.parametrize("username", ["shop", "nobody"])
async def test_a_guess_is_answered_later_each_time_whether_or_not_the_name_exists(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch, username: str
) -> None:
    monkeypatch.setattr(auth, "password_matches", lambda *_: False)
    monkeypatch.setattr(brake, "FIRST_DELAY", timedelta(seconds=0.1))
    scene = await open_scene(failed_logins=3)
    heard, took = [], []
    for number in range(4):
        peer = await session_of(scene, HERE)
        began = time.monotonic()
        heard.append((await prove(peer, username, f"wrong {number}"))[:3])
        took.append(time.monotonic() - began)
    assert heard == ["535", "535", "535", "454"]
    # Who is shut out waits too: else guessers would come back at once.
    assert [late >= least for late, least in zip(took, (0.1, 0.2, 0.4, 0.8), strict=True)] == [
        True
    ] * 4


async def test_guesses_at_once_are_no_more_than_one_after_the_other(open_scene: OpenScene) -> None:
    scene = await open_scene(failed_logins_per_name=3)
    peers = [await session_of(scene, HERE) for _ in range(8)]
    said = await asyncio.gather(*(prove(peer, "shop", "wrong") for peer in peers))
    assert sorted(reply[:3] for reply in said) == ["454"] * 5 + ["535"] * 3


async def test_guesses_of_many_names_shut_a_network_but_not_those_at_home_there(
    open_scene: OpenScene,
) -> None:
    scene = await open_scene(failed_logins=4)
    assert (await log_in(scene, HERE, "shop", "correct horse")).startswith("235 ")
    said = [(await log_in(scene, HERE, f"name {n}", "x"))[:3] for n in range(6)]
    assert said == ["535"] * 4 + ["454"] * 2
    assert (await log_in(scene, HERE, "shop", "correct horse")).startswith("235 ")


async def test_all_addresses_of_an_ipv6_network_count_together(open_scene: OpenScene) -> None:
    scene = await open_scene(failed_logins=3)
    said = [(await log_in(scene, f"2001:db8::{n}", f"name {n}", "x"))[:3] for n in range(1, 6)]
    assert said == ["535"] * 3 + ["454"] * 2
    assert (await log_in(scene, "2001:db8:0:1::1", "shop", "correct horse")).startswith("235 ")


def hold_hashing(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, threading.Event]:
    """Let hashing go on, and find every password wrong, when the second event is set."""
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(*_: object) -> bool:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(30)
        return False

    monkeypatch.setattr(auth, "password_matches", slow)
    return begun, go_on


async def test_a_right_guess_among_many_at_once_is_not_let_in_past_the_limit(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = hold_hashing(monkeypatch)
    scene = await open_scene(failed_logins_per_name=1)
    peers = [await session_of(scene, HERE) for _ in range(2)]
    wrong = asyncio.create_task(prove(peers[0], "shop", "wrong"))
    try:
        await asyncio.wait_for(begun.wait(), patient(10))
        right = asyncio.create_task(prove(peers[1], "shop", "correct horse"))
        # Nothing is said before the first guess is counted. It was let in at once.
        await asyncio.wait({right}, timeout=0.5)
    finally:
        go_on.set()
    assert [(await wrong)[:3], (await right)[:3]] == ["535", "454"]


async def test_neighbours_do_not_wait_for_a_guess_that_is_being_checked(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = await open_scene()
    assert (await log_in(scene, HERE, "shop", "correct horse")).startswith("235 ")
    begun, go_on = hold_hashing(monkeypatch)
    wrong = asyncio.create_task(log_in(scene, HERE, "nobody", "wrong"))
    try:
        await asyncio.wait_for(begun.wait(), patient(10))
        assert (await log_in(scene, HERE, "shop", "correct horse")).startswith("235 ")
        assert not wrong.done()
    finally:
        go_on.set()
    assert (await wrong).startswith("535 ")


async def test_what_nobody_has_time_to_check_counts_as_a_guess(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not recognised. Were it free, who fills the pool could guess for ever."""

    async def busy(*_: object) -> None:
        raise auth.PasswordsBusy

    scene = await open_scene(failed_logins_per_name=3)
    monkeypatch.setattr(scene.passwords, "prove", busy)
    for n in range(3):
        assert (await log_in(scene, HERE, "shop", f"wrong {n}")).startswith("454 4.7.0 ")
    assert (await log_in(scene, HERE, "shop", "correct horse")).startswith("454 ")


async def test_a_right_password_is_not_hashed(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def counted(_: object, password: str) -> bool:
        hashed.append(password)
        return False

    scene = await open_scene()
    monkeypatch.setattr(auth, "password_matches", counted)
    assert (await log_in(scene, HERE, "shop", "correct horse")).startswith("235 ")
    assert hashed == []


async def test_right_logins_pass_while_guesses_from_everywhere_fill_the_pool(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is guessed waits for a thread, up to a bound; all other work and right logins do not."""
    go_on = threading.Event()
    monkeypatch.setattr(auth, "password_matches", lambda *_: not go_on.wait(30))
    scene = await open_scene()
    guesses = [asyncio.create_task(log_in(scene, f"203.0.113.{n}", "shop", "x")) for n in range(60)]
    try:
        done, _ = await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        assert {task.result()[:9] for task in done} == {"454 4.7.0"}
        assert (await log_in(scene, HERE, "shop", "correct horse")).startswith("235 ")
        await asyncio.wait_for(asyncio.to_thread(int), patient(20))
    finally:
        go_on.set()
    replies = [reply[:3] for reply in await asyncio.gather(*guesses)]
    assert set(replies) == {"454", "535"}
    assert replies.count("535") <= 32


async def test_failed_logins_are_told_with_the_name_and_without_the_password(
    open_scene: OpenScene,
) -> None:
    scene = await open_scene()
    await log_in(scene, HERE, "shop", "secret guess")
    [event] = [event async for event in scene.spool.events.read()]
    assert event.type is EventType.REJECTION
    assert (event.command, event.user, event.reason) == ("AUTH", "shop", "password")
    assert (event.peer_address, event.helo) == (HERE, "client.example")
    assert event.reply.startswith("535 5.7.8 ")
    assert "secret guess" not in str(event)


async def test_a_password_proven_by_hashing_is_hashed_once(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another spelling than the Secret's it is the same password (RFC 4013)."""
    scene = await open_scene(MANIFESTS.replace("correct horse", "correct\u00a0horse"))
    hashed: list[str] = []
    matches = scram.password_matches

    def counted(verifier: Any, password: str) -> bool:
        hashed.append(password)
        return matches(verifier, password)

    monkeypatch.setattr(auth, "password_matches", counted)
    for _ in range(3):
        assert (await log_in(scene, HERE, "shop", "correct horse")).startswith("235 ")
    assert len(hashed) == 1


def logins(outcome: str) -> float:
    value = metrics.REGISTRY.get_sample_value("postroad_ingress_logins_total", {"outcome": outcome})
    assert value is not None
    return value


async def test_logins_are_counted_by_their_end(open_scene: OpenScene) -> None:
    before = {end: logins(end) for end in ("succeeded", "failed", "malformed", "shut_out")}
    scene = await open_scene(failed_logins_per_name=2)
    await log_in(scene, THERE, "shop", "correct horse")
    await guess(scene, HERE, "shop", 3)
    await (await session_of(scene, HERE)).say("AUTH PLAIN !")
    grown = {end: logins(end) - number for end, number in before.items()}
    assert grown == {"succeeded": 1, "failed": 2, "malformed": 1, "shut_out": 1}


async def test_a_name_of_thousands_of_letters_is_told_in_part(open_scene: OpenScene) -> None:
    scene = await open_scene()
    assert (await log_in(scene, HERE, "\u202e" + "x" * 5000, "wrong")).startswith("535 ")
    [event] = [event async for event in scene.spool.events.read()]
    assert len(event.user) == 255
