"""Limits and failures: who is refused, who is asked to try again later; nothing crashes."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from postroad.acceptance import quotas
from postroad.acceptance.admission import ListenerKind
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.interface import StoreAck
from postroad.spool.memory.spool import MemoryCluster
from postroad.testing.patience import patient
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.ingress import MANIFESTS, OpenScene, Scene


async def test_while_there_is_no_configuration_all_are_asked_to_come_later(
    open_scene: OpenScene, tmp_path: Path
) -> None:
    scene = await open_scene("")
    peer = await scene.connect()
    assert (await peer.reply()).startswith("421 4.3.2 ")
    assert await peer.reply() == ""
    await scene.configure(MANIFESTS, tmp_path)
    assert (await (await scene.peer()).say("NOOP")).startswith("250 ")


async def test_connections_are_limited_in_all(open_scene: OpenScene) -> None:
    scene = await open_scene(connections=2)
    first = await scene.peer()
    await scene.peer()
    third = await scene.connect()
    assert (await third.reply()).startswith("421 4.3.2 ")
    await first.say("QUIT")
    assert await first.reply() == ""
    await scene.peer()


async def test_connections_are_limited_for_each_address(open_scene: OpenScene) -> None:
    scene = await open_scene(connections_per_address=1)
    await scene.peer()
    second = await scene.connect(ListenerKind.SUBMISSION)
    assert (await second.reply()).startswith("421 4.7.0 ")


async def test_a_silent_session_is_ended(open_scene: OpenScene) -> None:
    scene = await open_scene(idle=timedelta(milliseconds=100))
    peer = await scene.peer()
    assert (await peer.reply()).startswith("421 4.4.2 ")
    assert await peer.reply() == ""


async def test_a_session_that_waits_for_the_queue_is_not_idle(open_scene: OpenScene) -> None:
    """Else the client hears 421 for a message that is taken all the same, and sends it again."""
    scene = await open_scene(idle=timedelta(milliseconds=300))
    stored = asyncio.Event()
    accept = scene.spool.accept

    async def slow_accept(*arguments: Any, **named: Any) -> StoreAck:
        await stored.wait()
        return await accept(*arguments, **named)

    scene.spool.accept = slow_accept  # type: ignore[method-assign]
    peer = await scene.peer()
    await peer.envelope("me@near.example", "you@far.example")
    sending = asyncio.create_task(peer.message())
    # Who came later and is idle is told so: the sweep has looked at the one that waits, too.
    assert (await (await scene.peer()).reply()).startswith("421 4.4.2 ")
    assert not sending.done()
    stored.set()
    assert (await sending).startswith("250 ")
    assert (await peer.reply()).startswith("421 4.4.2 ")  # now it is idle


async def test_recipients_are_limited_and_the_rest_is_asked_for_later(
    open_scene: OpenScene,
) -> None:
    scene = await open_scene(recipients=3)
    peer = await scene.peer()
    replies = await peer.envelope("me@near.example", *(f"r{n}@far.example" for n in range(4)))
    assert [reply[:9] for reply in replies[-2:]] == ["250 2.1.5", "452 4.5.3"]
    assert (await peer.message()).startswith("250 ")
    assert len(scene.records[0].recipients) == 3


async def test_too_many_errors_end_the_session(open_scene: OpenScene) -> None:
    scene = await open_scene(errors=3)
    peer = await scene.peer()
    await peer.say("EHLO client.example")
    for _ in range(4):
        assert (await peer.say("BOGUS")).startswith("500 5.5.1 ")
    assert (await peer.reply()).startswith("421 4.7.0 ")


async def test_a_line_too_long_is_refused_and_the_session_goes_on(peer: SmtpPeer) -> None:
    assert (await peer.say("NOOP " + "x" * 5000)).startswith("500 5.5.2 ")
    assert (await peer.say("NOOP")).startswith("250 ")


async def test_a_line_that_does_not_end_ends_the_session(peer: SmtpPeer) -> None:
    assert (await peer.send(b"x" * 200_000)).startswith("421 4.5.2 ")


@pytest.mark.parametrize("octets", [b"NO\0OP\r\n", b"\xff\xfe\xfd\r\n", b"\x16\x03\x01\0\r\n"])
async def test_octets_that_are_no_command_are_answered(peer: SmtpPeer, octets: bytes) -> None:
    await peer.say("EHLO client.example")
    assert (await peer.send(octets))[:9] in ("501 5.5.4", "500 5.5.1")
    assert (await peer.say("NOOP")).startswith("250 ")


async def test_a_session_that_is_cut_off_in_a_command_ends(scene: Scene, peer: SmtpPeer) -> None:
    assert await peer.all_replies(b"EHLO client.exa") == []


async def test_with_the_queue_away_mail_is_deferred(scene: Scene, peer: SmtpPeer) -> None:
    await peer.envelope("me@near.example", "you@far.example", "you@further.example")
    scene.spool.store.available = False
    assert (await peer.message()).startswith("451 4.3.0 ")
    scene.spool.store.available = True
    assert scene.records == []  # not even half of it
    await peer.envelope("me@near.example", "you@far.example")
    assert (await peer.message()).startswith("250 ")


async def test_with_the_queue_full_mail_is_deferred(scene: Scene, peer: SmtpPeer) -> None:
    await peer.envelope("me@near.example", "you@far.example")
    scene.spool.store.full = True
    assert (await peer.message()).startswith("452 4.3.1 ")
    assert scene.records == []


async def test_a_drain_ends_idle_sessions_and_lets_messages_finish(scene: Scene) -> None:
    idle, busy = await scene.peer(), await scene.peer()
    await busy.envelope("me@near.example", "you@far.example")
    await busy.say("DATA")
    draining = asyncio.create_task(scene.server.drain(seconds=10))
    assert (await idle.reply()).startswith("421 4.3.2 ")
    assert (await busy.send(b"hello\r\n.\r\n")).startswith("250 ")
    await busy.say("QUIT")
    await draining
    with pytest.raises(OSError):
        await scene.connect()


def quota(limit: int, action: str) -> str:
    return (
        MANIFESTS
        + f"""---
apiVersion: postroad.dev/v1alpha1
kind: Quota
metadata: {{name: all}}
spec:
  subject: {{namespace: default}}
  limits: [{{recipients: {limit}, per: 1d}}]
  onExceeded: {action}
"""
    )


@pytest.mark.parametrize(("action", "code"), [("Defer", "451 4.7.1 "), ("Reject", "550 5.7.1 ")])
async def test_a_quota_is_never_exceeded_by_two_processes_together(
    open_scene: OpenScene, action: str, code: str
) -> None:
    cluster = MemoryCluster()
    scenes = [await open_scene(quota(25, action), cluster=cluster) for _ in range(2)]

    async def send(scene: Scene) -> list[str]:
        peer = await scene.peer()
        replies = []
        for _ in range(20):
            await peer.envelope("me@near.example", "you@far.example")
            replies.append(await peer.message())
        return replies

    replies = [r for many in await asyncio.gather(*map(send, scenes)) for r in many]
    accepted = [reply for reply in replies if reply.startswith("250 ")]
    assert len(accepted) == len(scenes[0].records) == 25
    assert all(reply.startswith(code) for reply in replies if reply not in accepted)


@pytest.mark.parametrize("action", ["Reject", "Hold"])
async def test_no_verdict_is_final_while_another_process_may_give_back(
    open_scene: OpenScene, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "SETTLED", timedelta(hours=1))
    cluster, limit = MemoryCluster(), 40
    limits: dict[str, Any] = {"cluster": cluster, "errors": 10**6}
    one, other = [await open_scene(quota(limit, action), **limits) for _ in range(2)]

    async def send(peer: SmtpPeer) -> str:
        await peer.envelope("me@near.example", "you@far.example")
        return await peer.message()

    first, second = await one.peer(), await other.peer()
    while sum(cluster.agreement.usage.values()) == len(one.records) < 20:
        assert (await send(first)).startswith("250 ")
    unspent = sum(cluster.agreement.usage.values()) - len(one.records)
    assert unspent > 0
    while (reply := await send(second)).startswith("250 "):
        assert one.records[-1].hold is None
    assert reply.startswith("451 4.7.1 ")
    assert len(one.records) == limit - unspent
    await one.quotas.close()  # it stops, and gives back
    async with asyncio.timeout(patient(10)):
        while len(one.records) < limit:  # it is asked again once a second
            await send(second)
            await asyncio.sleep(0.05)
    assert all(record.hold is None for record in one.records)
    assert (await send(second)).startswith("451 4.7.1 ")
    monkeypatch.setattr(quotas, "SETTLED", timedelta())  # time passes without a new slice
    final = "550 5.7.1 " if action == "Reject" else "250 "
    async with asyncio.timeout(patient(10)):
        while (reply := await send(second)).startswith("451 4.7.1 "):
            await asyncio.sleep(0.05)
    assert reply.startswith(final)
    held = [record.hold.reason for record in one.records if record.hold]
    assert held == ["Quota"] * (action == "Hold")


async def test_a_message_over_its_quota_may_be_held(open_scene: OpenScene) -> None:
    scene = await open_scene(quota(1, "Hold"))
    peer = await scene.peer()
    for _ in range(2):
        await peer.envelope("me@near.example", "you@far.example")
        assert (await peer.message()).startswith("250 ")
    first, second = scene.records
    assert first.hold is None
    assert second.hold is not None
    assert second.hold.reason == "Quota"
    told = [event.reason async for event in scene.spool.events.read()]
    assert told == ["", "Quota"]


async def test_what_may_be_stored_stays_spent(open_scene: OpenScene) -> None:
    """Else the client's repetition fits as well, and both are delivered."""
    scene = await open_scene(quota(1, "Defer"))
    accept = scene.spool.accept

    async def unheard(*arguments: Any, **named: Any) -> StoreAck:
        await accept(*arguments, **named)
        raise SpoolUnavailable("no answer in 3 s")

    scene.spool.accept = unheard  # type: ignore[method-assign]
    peer = await scene.peer()
    replies = []
    for _ in range(2):
        await peer.envelope("me@near.example", "you@far.example")
        replies.append((await peer.message())[:9])
    assert replies == ["451 4.3.0", "451 4.7.1"]
    assert len(scene.records) == 1


async def test_what_is_not_accepted_costs_no_quota(open_scene: OpenScene) -> None:
    scene = await open_scene(quota(1, "Defer"))
    peer = await scene.peer()
    scene.spool.store.full = True
    await peer.envelope("me@near.example", "you@far.example")
    assert (await peer.message()).startswith("452 4.3.1 ")
    scene.spool.store.full = False
    await peer.envelope("me@near.example", "you@far.example")
    assert (await peer.message()).startswith("250 ")
