"""Commands of a session besides mail: counted, slowed down, and ended."""

import dataclasses
import time
from typing import Any

from postroad.acceptance.verdicts import NO_SUCH_RECIPIENT
from postroad.ingress import replies
from postroad.ingress.limits import IngressLimits
from postroad.ingress.session.conduct import Conduct
from postroad.smtp.reply import Reply
from postroad.smtp.server.refusals import RCPT_FIRST
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.ingress import OpenScene

MISTAKE, REFUSED = replies.UNKNOWN_COMMAND, NO_SUCH_RECIPIENT


def conduct(**limits: Any) -> Conduct:
    return Conduct(dataclasses.replace(IngressLimits(), **limits))


def verdicts(of: Conduct, verb: str, reply: Reply, count: int) -> list[float | Reply]:
    return [of.judge(verb, reply, scarce=False) for _ in range(count)]


def test_mistakes_are_answered_later_and_later_and_then_end_the_session() -> None:
    heard = verdicts(conduct(errors=20), "BOGUS", MISTAKE, 21)
    assert heard[:10] == [0.0] * 10
    assert heard[10:20] == [0.25 * n for n in range(1, 11)]
    assert heard[20] is replies.TOO_MANY_ERRORS


def test_refused_recipients_have_a_higher_limit() -> None:
    heard = verdicts(conduct(errors=20, rejections=100), "RCPT", REFUSED, 101)
    assert heard[:50] == [0.0] * 50
    assert heard[50] == 0.25
    assert max(h for h in heard[:100] if isinstance(h, float)) == 5.0
    assert heard[100] is replies.TOO_MANY_ERRORS


def test_recipients_that_a_client_names_are_answered_at_once_however_many_are_refused() -> None:
    session = conduct()
    said = [("RCPT", REFUSED), ("RCPT", Reply.of(553, "5.1.3", "no")), ("DATA", RCPT_FIRST)]
    for verb, reply in said * 300:
        assert session.judge(verb, reply, scarce=True, by_client=True) == 0.0
    asked = [session.judge("RCPT", REFUSED, scarce=False, by_client=True) for _ in range(1421)]
    assert (
        asked[-1] is replies.TOO_MANY_ERRORS
    )  # but not for ever: as anybody's, past the overshoot


def test_a_message_that_is_accepted_starts_the_counts_anew() -> None:
    session = conduct(errors=4)
    verdicts(session, "BOGUS", MISTAKE, 4)
    assert session.judge("DATA", Reply.of(250, "2.0.0", "queued"), scarce=False) == 0.0
    assert verdicts(session, "BOGUS", MISTAKE, 2) == [0.0, 0.0]


def test_while_places_are_scarce_half_of_a_limit_is_all() -> None:
    session = conduct(errors=4)
    heard = [session.judge("BOGUS", MISTAKE, scarce=True) for _ in range(3)]
    assert heard == [0.0, 0.0, replies.TOO_MANY_ERRORS]


async def ask(peer: SmtpPeer, *commands: str) -> list[str]:
    """Say commands again and again in one write each, until the session ends; return replies."""
    said: list[str] = []
    while not said or not said[-1].startswith("421 "):
        peer.writer.write("".join(f"{command}\r\n" for command in commands).encode())
        for _ in commands:
            said.append(await peer.reply())
            if said[-1].startswith("421 "):
                break
        assert len(said) < 5000
    return said


async def ask_once(peer: SmtpPeer, *commands: str) -> list[str]:
    """Say commands in one write; return the replies."""
    peer.writer.write("".join(f"{command}\r\n" for command in commands).encode())
    return [await peer.reply() for _ in commands]


async def test_commands_that_move_no_mail_end_a_session(open_scene: OpenScene) -> None:
    scene = await open_scene(junk_commands=30)
    for commands in (["RSET"], ["NOOP"], ["VRFY x"], ["HELP"], ["EHLO a"]):
        assert len(await ask(await scene.peer(), *commands)) < 40
    peer = await scene.peer()
    await peer.say("EHLO a")
    assert len(await ask(peer, "MAIL FROM:<me@near.example>", "RSET")) < 40


async def test_a_client_waits_for_the_replies_to_its_mistakes(open_scene: OpenScene) -> None:
    scene = await open_scene(errors=4)
    peer = await scene.peer()
    await peer.say("EHLO a")
    began = time.monotonic()
    heard = await ask(peer, "BOGUS")
    assert time.monotonic() - began >= 0.25 + 0.5  # for the third and the fourth
    assert [reply[:3] for reply in heard] == ["500"] * 5 + ["421"]


async def test_lines_that_are_too_long_are_mistakes(open_scene: OpenScene) -> None:
    scene = await open_scene(errors=4)
    peer = await scene.peer()
    await peer.say("EHLO a")
    heard = await ask(peer, "X" * 5000)
    assert [reply[:3] for reply in heard] == ["500"] * 5 + ["421"]


async def test_sending_mail_is_what_a_session_is_for(open_scene: OpenScene) -> None:
    scene = await open_scene(junk_commands=10)
    peer = await scene.peer()
    for _ in range(20):
        await peer.envelope("me@near.example", "you@far.example")
        assert (await peer.message()).startswith("250 ")


async def test_a_recipient_named_again_and_again_is_counted_each_time(
    open_scene: OpenScene,
) -> None:
    scene = await open_scene(recipients=100, errors=4)
    peer = await scene.peer()
    await peer.envelope("me@near.example")
    replies_heard = await ask(peer, *["RCPT TO:<you@far.example>"] * 100)
    codes = [reply[:3] for reply in replies_heard]
    assert codes[:100] == ["250"] * 100
    assert set(codes[100:1100]) == {"452"}
    assert len(codes) < 1110  # 1,000 more than there may be, then each is a mistake
    assert codes[-1] == "421"


async def test_asking_for_recipients_that_do_not_exist_ends_a_session(
    open_scene: OpenScene,
) -> None:
    scene = await open_scene(rejections=4)
    peer = await scene.peer()
    await peer.envelope("a@elsewhere.example")
    heard = await ask(peer, "RCPT TO:<nobody@here.example>")
    assert [reply[:9] for reply in heard] == ["550 5.1.1"] * 5 + ["421 4.7.0"]


async def test_a_client_is_neither_slowed_down_nor_cut_off_for_who_is_in_its_list(
    open_scene: OpenScene,
) -> None:
    scene = await open_scene(rejections=4, errors=4)
    peer = await scene.peer()
    await peer.envelope("me@near.example", "you@far.example")
    wrong = ["nobody@here.example", "a@b@[x", "a b@far.example", "you@localhost"] * 33
    heard = await ask_once(peer, *(f"RCPT TO:<{address}>" for address in wrong))
    assert {reply[:1] for reply in heard} == {"5"}
    assert (await peer.message()).startswith("250 ")
    for _ in range(6):  # a message to nobody, as clients pipeline it
        await ask_once(peer, "MAIL FROM:<me@near.example>", "RCPT TO:<no@here.example>", "DATA")
        await ask_once(peer, "RSET")
    assert (await peer.say("NOOP")).startswith("250 ")
    assert (await ask(peer, "BOGUS"))[-1].startswith("421 ")
