"""A login that a host repeats in a reply is never shown, in whatever form it comes."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from postroad.delivery.client.redaction import Redaction
from postroad.policy.model import Credentials
from postroad.smtp.reply import Reply
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemorySpool
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send, to_smarthost

LOGIN = Credentials("shop", "Correct \\ horse")


def refused(line: bytes) -> bytes:
    return b"535 5.7.8 you said " + line.strip() + b"\r\n"


def in_capitals(line: bytes) -> bytes:
    return b"502 UNKNOWN COMMAND " + line.strip().upper() + b"\r\n"


def over_two_lines(line: bytes) -> bytes:
    return b"535-" + line[:30] + b"\r\n535 " + line[30:].strip() + b"\r\n"


def behind_a_control_character(line: bytes) -> bytes:
    return b"\x01" + line.strip() + b"\r\n"


def behind_a_control_character_in_clear(line: bytes) -> bytes:
    return b"\x01 " + LOGIN.password.encode() + b"\r\n"


@pytest.mark.parametrize("mechanism", ["AUTH PLAIN", "AUTH LOGIN"])
@pytest.mark.parametrize(
    "said",
    [
        refused,
        in_capitals,
        over_two_lines,
        behind_a_control_character,
        behind_a_control_character_in_clear,
    ],
)
async def test_a_login_that_a_host_repeats_is_shown_to_nobody(
    said: Callable[[bytes], bytes], mechanism: str
) -> None:
    secret = [b""]

    def script(line: bytes, count: int) -> bytes | None:
        if line.startswith(b"AUTH LOGIN"):
            return b"334 VXNlcm5hbWU6\r\n"
        if line.startswith(b"AUTH PLAIN"):
            secret[0] = line.split()[2]
            return said(line)
        if line.split(b" ")[0] not in (b"EHLO", b"QUIT", b"MAIL"):
            if secret[0]:
                return said(line)
            secret[0] = line.strip()
            return b"334 UGFzc3dvcmQ6\r\n"
        return None

    spool = MemorySpool()
    async with ScriptedMx(script, extensions=(mechanism,)) as mx:
        await publish(spool, anywhere=replace(to_smarthost(mx), credentials=LOGIN))
        async with delivering(spool):
            await send(spool, "b@y.example")
            [told] = await history(spool, EventType.TRANSIENT_FAILURE)
    words = mx.commands[-1].split()[-1].decode()
    shown = f"{told.reply} {spool.store.records}".casefold()
    assert "***" in shown
    assert words.casefold() not in shown
    assert LOGIN.password.casefold() not in shown


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("wrong: Q29ycmVjdCBc...", "wrong: ***..."),
        ("correct \\ horse is no password", "*** is no password"),
        ("authentication failed: 7.8", "authentication failed: 7.8"),
    ],
)
def test_of_a_refused_login_what_is_no_secret_stays(said: str, shown: str) -> None:
    reply = Reply.of(535, "5.7.8", said)
    assert Redaction(LOGIN).of_reply(reply).lines == (shown,)


def test_no_password_at_all_hides_nothing() -> None:
    assert Redaction(Credentials("shop", "")).of_text("504 what?") == "504 what?"
