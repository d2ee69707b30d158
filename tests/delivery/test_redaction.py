"""A login that a host repeats in a reply is never shown, in whatever form it comes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from postroad.policy.model import Credentials
from postroad.smtp.reply import Reply
from postroad.smtp_client.redaction import Redaction
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemorySpool
from postroad.testing.peers.mx import Script, ScriptedMx
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


PASSWORD = "correct-horse-battery-staple"
# Of a line that is no reply the first 80 characters are quoted: they end within the password.
AT_THE_CUT = b"error: " + 48 * b"#" + b" pw=" + PASSWORD.encode()


async def shown_of(kind: EventType, script: Script, **more: Any) -> str:
    """Send to a host with a login; return an event of a kind, and all that is kept of the mail."""
    spool = MemorySpool()
    async with ScriptedMx(script, **{"extensions": ("AUTH PLAIN",), **more}) as mx:
        login = Credentials("shop", PASSWORD)
        await publish(spool, anywhere=replace(to_smarthost(mx), credentials=login))
        async with delivering(spool):
            await send(spool, "b@y.example")
            [told] = await history(spool, kind)
            return f"{told} {spool.store.records}"


@pytest.mark.parametrize(
    "words",
    [
        b"454 4.7.0 blocked after " + PASSWORD.encode() + b"\r\n",
        b"454-4.7.0 blocked after correct-horse-\r\n454 4.7.0 battery-staple\r\n",
        b"\x01" + AT_THE_CUT + b"\r\n",
        AT_THE_CUT + b"\r\n\x01\r\n",  # passed over, and told of when the session fails
    ],
)
@pytest.mark.parametrize("at", ["greeting", "EHLO", "AUTH", "MAIL", "."])
async def test_a_host_shows_the_login_at_no_point_of_a_session(at: str, words: bytes) -> None:
    def script(line: bytes, count: int) -> bytes | None:
        return words if line.startswith(at.encode()) else None

    greeting = words if at == "greeting" else b"220 mx.test ESMTP\r\n"
    shown = await shown_of(EventType.TRANSIENT_FAILURE, script, greeting=greeting)
    assert "***" in shown
    assert not any(part in shown for part in ("correct", "horse", "staple"))


@pytest.mark.parametrize(
    "words",
    [
        b"250 2.0.0 taken from shop with " + PASSWORD.encode() + b"\r\n",
        b"250 2.0.0 " + AT_THE_CUT + 5000 * b"x",  # its line never ends
        b"250 2.0.0 " + 407 * b"ten chars " + b"taken " + PASSWORD.encode(),
    ],
)
async def test_a_host_that_takes_the_mail_shows_no_login(words: bytes) -> None:
    def script(line: bytes, count: int) -> bytes | None:
        return words if line == b"." else None

    shown = await shown_of(EventType.DELIVERY, script)
    assert not any(part in shown for part in ("correct", "horse", "staple"))


async def test_a_host_that_offers_the_password_as_a_login_shows_it_to_nobody() -> None:
    extensions = (f"AUTH CRAM-MD5 {PASSWORD}",)
    shown = await shown_of(
        EventType.TRANSIENT_FAILURE, lambda line, count: None, extensions=extensions
    )
    assert "only AUTH *** CRAM-MD5" in shown or "only AUTH CRAM-MD5 ***" in shown


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
