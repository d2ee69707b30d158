"""Peers that freeze, hang up or send nonsense, in each phase: handled in time."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from postroad.mail.address import parse_mailbox
from postroad.policy.model import TlsMode
from postroad.smtp.client import Phase
from postroad.smtp_client.network import NetworkError
from postroad.smtp_client.opening import open_session as open_to
from postroad.smtp_client.peer import Peer, SessionLost, Timeouts, TlsUnavailable
from postroad.smtp_client.session import Session
from postroad.smtp_client.transaction import Outgoing, TransactionReplies
from postroad.testing.patience import patient
from postroad.testing.peers.mx import HANG_UP, SILENCE, Script, ScriptedMx
from postroad.testing.peers.transact import transact
from postroad.testing.streams import hang_up

FREEZE = b"250-and then nothing\r\n"  # a reply that does not end
SHORT = timedelta(seconds=0.15)
LONG = timedelta(seconds=30)
PATIENT = Timeouts(LONG, LONG, LONG, LONG, LONG, LONG, LONG)
# The command that is answered with a fault, the phase it is, the timeout that counts there.
PHASES = [
    (b"EHLO", Phase.EHLO, "command"),
    (b"MAIL", Phase.MAIL, "command"),
    (b"RCPT", Phase.RCPT, "command"),
    (b"DATA", Phase.DATA, "data"),
    (b".", Phase.FINAL_DOT, "final_dot"),
]
CASES = [(*case, extensions) for case in PHASES for extensions in ((), ("PIPELINING",))]
# In the middle of pipelined replies a reply without end would take the next one for its end.
FREEZES = [case for case in CASES if not case[3] or case[1] in (Phase.EHLO, Phase.DATA)]


async def deliver(mx: ScriptedMx, timeouts: Timeouts, transaction: TransactionReplies) -> Session:
    peer = Peer("mx.test", "127.0.0.1", mx.port, "relay.test", tls=TlsMode.NONE)
    session = await open_to(peer, timeouts)
    message = Outgoing(parse_mailbox("a@x.example"), (parse_mailbox("b@y.example"),), b"hi\r\n", 4)
    await transact(session, message, transaction)
    return session


def saying(verb: bytes, reply: bytes) -> Script:
    return lambda line, count: reply if line.split()[0] == verb else None


async def lost(mx: ScriptedMx, timeouts: Timeouts) -> SessionLost:
    with pytest.raises(SessionLost) as error:
        async with asyncio.timeout(patient(10)):
            await deliver(mx, timeouts, TransactionReplies(recipients=[None]))
    return error.value


@pytest.mark.parametrize(("verb", "phase", "name", "extensions"), FREEZES)
async def test_a_frozen_peer_is_given_up_after_its_phase_s_timeout(
    verb: bytes, phase: Phase, name: str, extensions: tuple[str, ...]
) -> None:
    async with ScriptedMx(saying(verb, FREEZE), extensions=extensions) as mx:
        error = await lost(mx, replace(PATIENT, **{name: SHORT}))
        assert error.phase is phase
        assert error.ambiguous is (phase is Phase.FINAL_DOT)
        assert "no answer in 0.15 s" in str(error)


@pytest.mark.parametrize(("verb", "phase", "name", "extensions"), CASES)
@pytest.mark.parametrize("fault", [HANG_UP, b"\x16\x03\x01\r\n"])
async def test_a_peer_that_hangs_up_or_talks_nonsense(
    verb: bytes, phase: Phase, name: str, extensions: tuple[str, ...], fault: bytes
) -> None:
    async with ScriptedMx(saying(verb, fault), extensions=extensions) as mx:
        error = await lost(mx, PATIENT)
        assert error.phase is phase
        assert error.ambiguous is (phase is Phase.FINAL_DOT), "only then it may have been taken"


@pytest.mark.parametrize(("verb", "phase", "name", "extensions"), CASES)
async def test_a_line_that_is_no_reply_is_passed_over_where_one_is_due(
    verb: bytes, phase: Phase, name: str, extensions: tuple[str, ...]
) -> None:
    """Where more are due it might shift them all; the last of a group, and the dot's, is alone."""
    usual = {b"DATA": b"354 go on\r\n"}.get(verb, b"250 2.0.0 ok\r\n")
    if verb == b"EHLO" and extensions:
        usual = b"250-mx.test\r\n250 PIPELINING\r\n"
    shaken = extensions and verb in (b"MAIL", b"RCPT")
    async with ScriptedMx(saying(verb, b"*** hello ***\r\n" + usual), extensions=extensions) as mx:
        if shaken:
            assert (await lost(mx, PATIENT)).phase is phase
        else:
            await deliver(mx, PATIENT, TransactionReplies(recipients=[None]))
        assert len(mx.messages) == int(not shaken)


async def test_a_time_limit_is_for_the_whole_reply() -> None:
    """Whoever says an octet now and then would else be waited for as long as he likes."""
    gone = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220-")
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        await hang_up(writer)
        gone.set()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        peer = Peer("mx.test", "127.0.0.1", server.sockets[0].getsockname()[1], "relay.test")
        with pytest.raises(SessionLost, match=r"no answer in 0\.15 s"):
            async with asyncio.timeout(patient(10)):
                await open_to(peer, replace(PATIENT, greeting=SHORT))
        await gone.wait()


async def test_a_peer_that_never_greets() -> None:
    async with ScriptedMx(greeting=SILENCE) as mx:
        error = await lost(mx, replace(PATIENT, greeting=SHORT))
        assert (error.phase, error.ambiguous) == (Phase.GREETING, False)


async def test_a_handshake_that_never_ends_is_given_up() -> None:
    async with ScriptedMx(greeting=SILENCE) as mx:
        peer = Peer("mx.test", "127.0.0.1", mx.port, "me.test", TlsMode.REQUIRED, implicit_tls=True)
        with pytest.raises(TlsUnavailable):
            await open_to(peer, replace(PATIENT, command=SHORT))


async def test_an_address_that_does_not_answer() -> None:
    """A server whose queue of connections is full is as silent as a firewall."""

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = []
        try:
            for _ in range(3):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
                fillers.append(filler)
            peer = Peer("mx.test", "127.0.0.1", port, "relay.test")
            with pytest.raises(NetworkError, match=r"no connection in 0\.15 s"):
                await open_to(peer, replace(PATIENT, connect=SHORT))
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)])
@pytest.mark.parametrize("verb", [b"MAIL", b"RCPT", b"DATA", b"."])
async def test_421_ends_the_session_and_is_remembered(
    verb: bytes, extensions: tuple[str, ...]
) -> None:
    async with ScriptedMx(saying(verb, b"421 4.3.2 bye\r\n"), extensions=extensions) as mx:
        transaction = TransactionReplies(recipients=[None])
        ambiguous = False
        try:
            await deliver(mx, PATIENT, transaction)
        except SessionLost as error:
            ambiguous = error.ambiguous
        assert not ambiguous
        assert transaction.farewell is not None
        assert str(transaction.farewell) == "421 4.3.2 bye"


async def test_421_to_one_of_several_recipients_without_pipelining() -> None:
    async with ScriptedMx(saying(b"RCPT", b"421 4.3.2 bye\r\n"), extensions=()) as mx:
        peer = Peer("mx.test", "127.0.0.1", mx.port, "relay.test", tls=TlsMode.NONE)
        session = await open_to(peer, PATIENT)
        to = (parse_mailbox("b@y.example"), parse_mailbox("c@y.example"))
        transaction = TransactionReplies(recipients=[None, None])
        await transact(session, Outgoing(None, to, b"hi\r\n", 4), transaction)
        assert transaction.farewell is not None
        assert not session.reusable


async def test_a_refusal_stays_when_the_peer_hangs_up_behind_it() -> None:
    def script(line: bytes, count: int) -> bytes | None:
        if line == b"RSET":
            return HANG_UP
        return b"550 5.7.1 not you\r\n" if line.startswith(b"MAIL") else None

    async with ScriptedMx(script, extensions=()) as mx:
        transaction = TransactionReplies(recipients=[None])
        session = await deliver(mx, PATIENT, transaction)
        _, reply = transaction.decision_for(0)
        assert reply is not None
        assert reply.code == 550
        assert not session.reusable


async def endless(chunk: bytes) -> AsyncIterator[bytes]:
    while True:
        yield chunk
        await asyncio.sleep(0)


async def content_to(
    *, reply: bytes, closes: bool, trickles: bool = False
) -> tuple[TransactionReplies, SessionLost | None]:
    """
    Send content without end to a server that answers DATA, says `reply`, and reads no more.

    One that `trickles` reads on, some octets at a time.
    """
    release, gone = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx.test\r\n")
        for answer in (b"250 mx.test\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"):
            await reader.readuntil(b"\r\n")
            writer.write(answer)
        await reader.readexactly(1000)
        writer.write(reply)
        while trickles and not release.is_set():
            await reader.read(16)
            await asyncio.sleep(0.01)
        if not closes:
            await release.wait()
        await hang_up(writer)
        gone.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        session = await open_to(
            Peer("mx.test", "127.0.0.1", port, "me.test", tls=TlsMode.NONE),
            replace(PATIENT, block=SHORT),
        )
        transaction = TransactionReplies(recipients=[None])
        to = (parse_mailbox("b@y.example"),)
        content = endless(b"x" * 65536)
        error = None
        try:
            async with asyncio.timeout(patient(10)):
                await transact(session, Outgoing(None, to, content, 10), transaction)
        except SessionLost as lost:
            error = lost
        finally:
            reusable = session.reusable
            session.abort()
            release.set()
            await gone.wait()
            await content.aclose()  # type: ignore[attr-defined]
        assert not reusable
        return transaction, error


@pytest.mark.parametrize("trickles", [False, True])
async def test_a_peer_that_reads_next_to_nothing_is_given_up_within_the_content(
    trickles: bool,
) -> None:
    _, error = await content_to(reply=b"", closes=False, trickles=trickles)
    assert error is not None
    assert (error.phase, error.ambiguous) == (Phase.CONTENT, False)


@pytest.mark.parametrize("closes", [True, False])
async def test_a_refusal_before_the_content_s_end_is_heard(closes: bool) -> None:
    transaction, error = await content_to(reply=b"552 5.3.4 too big\r\n", closes=closes)
    assert error is None
    _, reply = transaction.decision_for(0)
    assert reply is not None
    assert reply.code == 552


async def test_content_taken_before_its_end_is_not_taken() -> None:
    _, error = await content_to(reply=b"250 2.0.0 ok\r\n", closes=False)
    assert error is not None
    assert error.phase is Phase.CONTENT
