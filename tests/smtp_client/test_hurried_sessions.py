"""Sessions that are open when places become scarce: silent peers are given up sooner."""

import asyncio
import time
from datetime import timedelta

import pytest

from postroad.mail.address import parse_mailbox
from postroad.policy.model import TlsMode
from postroad.smtp.client import Phase
from postroad.smtp_client.opening import open_session
from postroad.smtp_client.peer import Peer, SessionLost, Timeouts
from postroad.smtp_client.transaction import Outgoing, TransactionReplies
from postroad.testing.patience import patient
from postroad.testing.peers.mx import SILENCE, ScriptedMx
from postroad.testing.peers.transact import transact

LONG = timedelta(minutes=5)
TIMES = Timeouts(command=LONG, data=LONG, final_dot=LONG, hurry=timedelta(seconds=0.1))


async def wait_at(verb: bytes, *, hurried: asyncio.Event) -> None:
    """Send a message to a peer that is silent at a command; places are scarce from then on."""

    def script(line: bytes, _: int) -> bytes | None:
        if line.split()[0] != verb:
            return None
        hurried.set()
        return SILENCE

    async with ScriptedMx(script) as mx:
        peer = Peer("mx.test", "127.0.0.1", mx.port, "relay.test", tls=TlsMode.NONE)
        session = await open_session(peer, TIMES, is_hurried=hurried.is_set)
        to = (parse_mailbox("b@y.example"),)
        message = Outgoing(parse_mailbox("a@x.example"), to, b"hi\r\n", 4)
        await transact(session, message, TransactionReplies(recipients=[None]))


@pytest.mark.parametrize("phase", [Phase.MAIL, Phase.RCPT, Phase.DATA])
async def test_a_wait_becomes_shorter_when_others_need_the_place(phase: Phase) -> None:
    with pytest.raises(SessionLost, match=r"no answer in 0\.1 s"):
        await asyncio.wait_for(wait_at(phase.value.encode(), hurried=asyncio.Event()), patient(10))


async def test_a_final_dot_has_its_whole_time_whoever_needs_the_place() -> None:
    """A slow host would get the mail twice."""
    hurried, began = asyncio.Event(), time.monotonic()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wait_at(b".", hurried=hurried), 0.5)
    assert hurried.is_set()
    assert time.monotonic() - began >= 0.5
