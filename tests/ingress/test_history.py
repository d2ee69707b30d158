"""Why was my mail refused? Each refusal is a counter, a log line and an event; floods are cut."""

import asyncio
import base64
import contextlib
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from postroad.acceptance import verdicts
from postroad.acceptance.admission import ListenerKind
from postroad.ingress import metrics, replies
from postroad.ingress.auth import brake, sasl
from postroad.ingress.reasons import REASONS, reason_of
from postroad.smtp.reply import Reply
from postroad.spool.event import Event, EventType
from postroad.telemetry.log_limit import OF_ONE_NETWORK
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.ingress import OpenScene, Scene


async def rejections(scene: Scene) -> list[Event]:
    types = frozenset({EventType.REJECTION})
    return [event async for event in scene.spool.events.read(types=types)]


def refused(command: str, reason: str) -> float:
    return metrics.REFUSALS.labels(command, reason).value


@pytest.mark.parametrize(
    ("lines", "command", "reason", "sender", "recipients"),
    [
        (["MAIL FROM:<boss@else where>"], "MAIL", "address", "boss@else where", ()),
        (
            ["MAIL FROM:<a@b.test>", "RCPT TO:<victim@other.test>"],
            "RCPT",
            "relaying",
            "a@b.test",
            ("victim@other.test",),
        ),
        (
            ["MAIL FROM:<a@b.test>", "RCPT TO:<typo@here.example>"],
            "RCPT",
            "recipient",
            "a@b.test",
            ("typo@here.example",),
        ),
        (["MAIL FROM:<a@b.test> SIZE=99999999999"], "MAIL", "size", "a@b.test", ()),
        (["RCPT TO:<known@here.example>"], "RCPT", "sequence", "", ("known@here.example",)),
        (["MAIL FROM <>"], "MAIL", "syntax", "", ()),
        (["MAIL FROM:<a@b.test>", "DATA"], "DATA", "sequence", "a@b.test", ()),
        (["AUTH PLAIN eA=="], "AUTH", "tls", "", ()),
    ],
)
async def test_a_refusal_is_told_with_all_that_is_known(
    scene: Scene,
    lines: list[str],
    command: str,
    reason: str,
    sender: str,
    recipients: tuple[str, ...],
) -> None:
    before = refused(command.lower(), reason)
    peer = await scene.peer()
    await peer.say("EHLO mx.sender.example")
    with capture_logs() as written:
        reply = [await peer.say(line) for line in lines][-1]
    [event] = await rejections(scene)
    assert (event.command, event.reason, event.reply) == (command, reason, reply)
    assert (event.reverse_path, event.recipients) == (sender, recipients)
    assert (event.peer_address, event.helo) == ("127.0.0.1", "mx.sender.example")
    [line] = [line for line in written if line["event"] == "rejected"]
    assert (line["command"], line["reason"], line["reply"]) == (command, reason, reply)
    assert (line["from"], line.get("to", "")) == (sender, ",".join(recipients))
    assert (line["peer"], line["helo"]) == ("127.0.0.1", "mx.sender.example")
    assert refused(command.lower(), reason) == before + 1


async def test_a_client_that_says_another_s_sender_is_told_with_its_name(scene: Scene) -> None:
    peer = await scene.peer(ListenerKind.SUBMISSIONS)
    await peer.say("EHLO till.shop.example")
    assert (await peer.say(f"AUTH PLAIN {plain('shop', 'correct horse')}")).startswith("235 ")
    before = refused("mail", "sender")
    with capture_logs() as written:
        reply = await peer.say("MAIL FROM:<boss@elsewhere.test>")
    assert reply.startswith("550 5.7.1 ")
    [event] = await rejections(scene)
    assert (event.command, event.reason, event.reply) == ("MAIL", "sender", reply)
    assert (event.client, event.reverse_path) == ("default/shop", "boss@elsewhere.test")
    assert (event.peer_address, event.helo) == ("127.0.0.1", "till.shop.example")
    [line] = [line for line in written if line["event"] == "rejected"]
    assert (line["command"], line["reply"]) == ("MAIL", reply)
    assert (line["client"], line["from"]) == ("default/shop", "boss@elsewhere.test")
    assert refused("mail", "sender") == before + 1


def plain(username: str, password: str) -> str:
    """Return the response of AUTH PLAIN (RFC 4616)."""
    return base64.b64encode(f"\0{username}\0{password}".encode()).decode()


async def test_what_is_refused_at_the_final_dot_is_told_with_its_size(scene: Scene) -> None:
    peer = await scene.peer()
    await peer.envelope("me@near.example", "you@far.example", "they@far.example")
    reply = await peer.message(b"a bare\nline end\r\n")
    [event] = await rejections(scene)
    assert (event.command, event.reply, event.size) == ("DATA", reply, 17)
    assert event.recipients == ("you@far.example", "they@far.example")
    assert event.client == "default/network"


async def test_who_is_turned_away_at_connect_is_told(open_scene: OpenScene) -> None:
    scene = await open_scene(connections_per_address=1)
    await scene.peer()
    reply = await (await scene.connect()).reply()
    [event] = await rejections(scene)
    assert (event.command, event.reason, event.reply) == ("CONNECT", "connections", reply)
    assert event.peer_address == "127.0.0.1"


async def test_a_session_that_is_ended_is_told_once(open_scene: OpenScene) -> None:
    scene = await open_scene(errors=1)
    peer = await scene.peer()
    await peer.say("EHLO mx.sender.example")
    await peer.say("NONSENSE")
    await peer.say("NONSENSE")
    assert (await peer.reply()).startswith("421 ")
    told = [(event.command, event.reason) for event in await rejections(scene)]
    assert told == [("OTHER", "syntax"), ("OTHER", "syntax"), ("SESSION", "errors")]


@pytest.mark.parametrize(
    ("octets", "told"),
    [
        (b"NOOP\nNOOP\r\n", [("SESSION", "syntax")]),
        (b"x" * 70_000, [("SESSION", "syntax")]),
        (b"NOOP " + b"x" * 5000 + b"\r\n", [("OTHER", "syntax")]),
    ],
)
async def test_lines_that_are_none_are_told(
    scene: Scene, octets: bytes, told: list[tuple[str, str]]
) -> None:
    peer = await scene.peer()
    await peer.say("EHLO mx.sender.example")
    await peer.send(octets)
    assert [(event.command, event.reason) for event in await rejections(scene)] == told


async def test_a_password_said_too_early_is_in_no_line_and_no_event(scene: Scene) -> None:
    """Its client goes on with AUTH LOGIN though it heard 538: the lines are commands by now."""
    peer = await scene.peer()
    await peer.say("EHLO mx.sender.example")
    with capture_logs() as written:
        for line in ("AUTH LOGIN", "c2hvcA==", "Y29ycmVjdCBob3JzZQ=="):
            await peer.say(line)
    told = str(await rejections(scene)) + str(written)
    assert "c2hvcA==" not in told
    assert "Y29ycmVjdCBob3JzZQ==".lower() not in told.lower()


async def test_a_flood_of_refusals_fills_neither_log_nor_history(scene: Scene) -> None:
    peer = await scene.peer()
    await peer.envelope("a@b.test")
    before = refused("rcpt", "relaying")
    with capture_logs() as written:
        replies_ = await asyncio.gather(
            *(flood(scene, f"victim{number}@other.test") for number in range(10))
        )
    assert sum(map(len, replies_)) == 500
    assert refused("rcpt", "relaying") == before + 500  # none is left out of the counter
    events = await rejections(scene)
    lines = [line for line in written if line["event"] == "rejected"]
    assert len(events) == len(lines) <= OF_ONE_NETWORK.burst + 20
    assert len(lines) >= OF_ONE_NETWORK.burst


async def flood(scene: Scene, recipient: str) -> list[str]:
    peer = await scene.peer()
    await peer.envelope("a@b.test")
    return [await peer.say(f"RCPT TO:<{recipient}>") for _ in range(50)]


async def test_a_flood_of_failed_logins_fills_neither_log_nor_history(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some are answered 535, those after that 454: all of them count against one budget."""
    monkeypatch.setattr(brake, "FIRST_DELAY", timedelta())
    monkeypatch.setattr(sasl, "password_matches", lambda *_: False)  # else they take seconds
    scene = await open_scene(insecure_auth=True, failed_logins=30)
    before = refused("auth", "password") + refused("auth", "guessing")
    with capture_logs() as written:
        heard = [reply for n in range(40) for reply in await guesses(scene, f"name {n}")]
    assert len(heard) == 120
    assert {reply[:4] for reply in heard} == {"535 ", "454 "}
    assert refused("auth", "password") + refused("auth", "guessing") == before + 120
    events = [event for event in await rejections(scene) if event.command == "AUTH"]
    lines = [line for line in written if line["event"] == "rejected" and line["command"] == "AUTH"]
    assert OF_ONE_NETWORK.burst // 2 <= len(events) == len(lines) <= OF_ONE_NETWORK.burst + 20


async def guesses(scene: Scene, username: str) -> list[str]:
    """Guess as often as one session may."""
    peer = await scene.peer_from("127.0.0.2", ListenerKind.SUBMISSION)
    await peer.say("EHLO client.example")
    return [await peer.say(f"AUTH PLAIN {plain(username, str(n))}") for n in range(3)]


async def test_strangers_do_not_use_up_what_a_client_is_told(scene: Scene) -> None:
    await flood(scene, "victim@other.test")
    peer = await scene.peer()
    await peer.envelope("me@near.example", "you@here.example")  # which is not in the list
    assert [event.client for event in await rejections(scene)][-1] == "default/network"


@pytest.mark.parametrize(("recipients", "to"), [(1, "u0@far.example"), (7, None)])
async def test_an_accepted_message_is_a_line(scene: Scene, recipients: int, to: str | None) -> None:
    peer = await scene.peer()
    await peer.envelope("me@near.example", *(f"u{n}@far.example" for n in range(recipients)))
    with capture_logs() as written:
        reply = await peer.message()
    [line] = [line for line in written if line["event"] == "accepted"]
    assert reply.endswith(f"queued as {line['queue_id']}")
    assert (line["from"], line["client"]) == ("me@near.example", "default/network")
    assert (line["peer"], line["helo"], line["size"]) == ("127.0.0.1", "client.example", 22)
    assert line["to"] == (to or ",".join(f"u{n}@far.example" for n in range(5)))
    assert line.get("recipients", 1) == recipients


async def test_text_of_a_peer_is_kept_as_text(scene: Scene) -> None:
    peer = await scene.peer()
    await peer.say("EHLO mx.sender.example")
    await peer.send(b"MAIL FROM:<\xff\xfe\x1b[31m@b.test>\r\n")
    await peer.say("MAIL FROM:<" + "a" * 3000 + "@b.test>")
    [first, second] = await rejections(scene)
    assert first.command == "OTHER"
    assert len(second.reverse_path) <= 320


def all_refusals() -> list[Any]:
    known = [*vars(replies).items(), *vars(verdicts).items()]
    return [
        pytest.param(reply, id=name)
        for name, reply in known
        if isinstance(reply, Reply) and reply.code >= 400
    ]


@pytest.mark.parametrize("reply", all_refusals())
def test_every_reply_has_a_reason_of_its_own(reply: Reply) -> None:
    assert reason_of(reply) in REASONS
    assert reason_of(reply) != "other"


async def test_malformed_headers_of_a_balancer_are_told_a_few_times(scene: Scene) -> None:
    """Anybody in its network can send them, and each was a line."""
    before = proxy_refusals()
    with capture_logs() as written:
        for _ in range(60):
            port = scene.proxy_ports[ListenerKind.RELAY]
            peer = SmtpPeer(*await asyncio.open_connection("127.0.0.1", port))
            scene.peers.append(peer)
            peer.writer.write(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                assert await peer.reply() == ""
    assert proxy_refusals() == before + 60
    lines = [line for line in written if line["event"] == "a proxied connection is refused"]
    assert 1 <= len(lines) <= OF_ONE_NETWORK.burst + 5


def proxy_refusals() -> float:
    return sum(series.value for _, series in metrics.PROXY_REFUSED.series())
