"""Sessions that are open when places become scarce: silent peers are given up sooner."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial

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
from postroad.testing.streams import hang_up

LONG = timedelta(minutes=5)
BLOCK, BLOCKS = 512 * 1024, 32  # octets, and more of them than sockets buffer
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


async def deaf(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    hears: asyncio.Event,
    left: asyncio.Event,
) -> None:
    """Answer each command, then read nothing until the event, and then all of the content."""
    writer.write(b"220 x\r\n")
    for reply in (b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"354 go on\r\n"):
        await reader.readline()
        writer.write(reply)
    await hears.wait()
    end = b""
    with suppress(ConnectionError):
        while end != b"\r\n.\r\n" and (octets := await reader.read(BLOCK)):
            end = (end + octets)[-5:]
    writer.write(b"250 2.0.0 taken\r\n")
    await hang_up(writer)
    left.set()


async def send_to_the_deaf(hears: asyncio.Event, times: Timeouts) -> TransactionReplies:
    left = asyncio.Event()
    serve = partial(deaf, hears=hears, left=left)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        peer = Peer("mx.test", "127.0.0.1", port, "relay.test", tls=TlsMode.NONE)
        session = await open_session(peer, times)
        to = (parse_mailbox("b@y.example"),)
        message = Outgoing(parse_mailbox("a@x.example"), to, blocks(), BLOCK * BLOCKS)
        transaction = TransactionReplies(recipients=[None])
        try:
            await transact(session, message, transaction)
        finally:
            hears.set()
            session.abort()
            await left.wait()
        return transaction


async def blocks() -> AsyncIterator[bytes]:
    for _ in range(BLOCKS):
        yield b"x" * (BLOCK - 2) + b"\r\n"


async def test_a_peer_that_stops_reading_is_given_up_when_its_time_is_over() -> None:
    """And not before: the wait goes on after the shorter time, which nobody needs."""
    times = replace(TIMES, block=timedelta(seconds=0.5))
    with pytest.raises(SessionLost, match=r"no progress in 0\.5 s"):
        await asyncio.wait_for(send_to_the_deaf(asyncio.Event(), times), patient(20))


async def test_a_peer_that_reads_slowly_gets_the_whole_content() -> None:
    hears = asyncio.Event()
    asyncio.get_running_loop().call_later(0.5, hears.set)  # after several of the shorter times
    sent = await asyncio.wait_for(send_to_the_deaf(hears, replace(TIMES, block=LONG)), patient(20))
    assert sent.is_delivered
