"""`postroad sink`: it answers as its flags say, and counts the mail that it has received."""

import asyncio
import base64
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from postroad.cli.sink.command import listen_sink
from postroad.cli.sink.server import Sink, SinkBehaviour
from postroad.cli.sink.session import SinkProtocol
from postroad.ingress.listen.certificate import self_signed
from postroad.testing.children import run
from postroad.testing.streams import hang_up
from postroad.units.addresses import ListenAddress

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
MESSAGE = b"Subject: hi\r\n\r\n..stuffed\r\nbye\r\n.\r\n"
ENVELOPE = b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n"


class Peer:
    """The client's side of a connection to a sink."""

    def __init__(self, streams: Streams) -> None:
        self.reader, self.writer = streams

    async def say(self, data: bytes, replies: int = 1) -> list[bytes]:
        """Send octets and return that many reply lines' codes."""
        self.writer.write(data)
        return [(await self.reader.readline())[:3] for _ in range(replies)]

    async def greet(self) -> None:
        """Introduce the client, and read what is announced."""
        self.writer.write(b"EHLO me.example\r\n")
        while (await self.reader.readline())[3:4] == b"-":
            pass


OpenPeer = Callable[[Sink], Awaitable[Peer]]


@pytest.fixture
async def open_peer() -> AsyncIterator[OpenPeer]:
    servers: list[asyncio.Server] = []
    peers: list[Peer] = []

    async def open_to(sink: Sink) -> Peer:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SinkProtocol(sink), "127.0.0.1", 0)
        servers.append(server)
        port = server.sockets[0].getsockname()[1]
        peer = Peer(await asyncio.open_connection("127.0.0.1", port))
        peers.append(peer)
        assert (await peer.reader.readline()).startswith(b"220 ")
        await peer.greet()
        return peer

    yield open_to
    for peer in peers:
        await hang_up(peer.writer)
    for server in servers:
        server.close()
        await server.wait_closed()


async def test_a_pipelined_message_is_taken_and_unstuffed(
    open_peer: OpenPeer, tmp_path: Path
) -> None:
    sink = Sink(SinkBehaviour(keep=tmp_path))
    peer = await open_peer(sink)
    codes = await peer.say(ENVELOPE + MESSAGE + b"QUIT\r\n", 5)
    assert codes == [b"250", b"250", b"354", b"250", b"221"]
    assert (sink.counts.accepted, sink.counts.recipients) == (1, 1)
    kept = (tmp_path / "000001.eml").read_bytes()
    assert kept == (
        b"X-Envelope-From: a@x.example\r\nX-Envelope-To: b@y.example\r\n"
        b"Subject: hi\r\n\r\n.stuffed\r\nbye\r\n"
    )


async def test_a_message_in_single_octets_is_the_same_message(
    open_peer: OpenPeer, tmp_path: Path
) -> None:
    sink = Sink(SinkBehaviour(keep=tmp_path))
    peer = await open_peer(sink)
    for octet in ENVELOPE + MESSAGE:
        peer.writer.write(bytes([octet]))
        await peer.writer.drain()
    codes = await peer.say(b"", 4)
    assert codes == [b"250", b"250", b"354", b"250"]
    assert b".stuffed\r\nbye\r\n" in (tmp_path / "000001.eml").read_bytes()


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (SinkBehaviour(defer_share=1.0), b"451"),
        (SinkBehaviour(reject_share=1.0), b"550"),
        (SinkBehaviour(latency=0.01), b"250"),
    ],
)
async def test_it_answers_the_final_dot_as_told(
    open_peer: OpenPeer, behaviour: SinkBehaviour, code: bytes
) -> None:
    peer = await open_peer(Sink(behaviour))
    assert (await peer.say(ENVELOPE + MESSAGE, 4))[-1] == code


async def test_commands_behind_a_slow_dot_are_answered_in_order(open_peer: OpenPeer) -> None:
    peer = await open_peer(Sink(SinkBehaviour(latency=0.01)))
    codes = await peer.say(ENVELOPE + MESSAGE + b"RSET\r\nQUIT\r\n", 6)
    assert codes[3:] == [b"250", b"250", b"221"]


async def test_it_hangs_up_without_an_answer(open_peer: OpenPeer) -> None:
    sink = Sink(SinkBehaviour(disconnect_share=1.0))
    peer = await open_peer(sink)
    assert (await peer.say(ENVELOPE + MESSAGE, 3))[-1] == b"354"
    assert await peer.reader.read() == b""
    assert sink.counts.disconnected == 1


async def test_the_first_try_of_each_message_is_deferred(open_peer: OpenPeer) -> None:
    sink = Sink(SinkBehaviour(defer_first=True))
    peer = await open_peer(sink)
    assert (await peer.say(ENVELOPE + MESSAGE, 4))[-1] == b"451"
    assert (await peer.say(ENVELOPE + MESSAGE, 4))[-1] == b"250"
    assert sink.counts.accepted == 1


async def test_it_keeps_no_more_than_told(open_peer: OpenPeer, tmp_path: Path) -> None:
    peer = await open_peer(Sink(SinkBehaviour(keep=tmp_path, keep_last=2)))
    for _ in range(3):
        await peer.say(ENVELOPE + MESSAGE, 4)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["000002.eml", "000003.eml"]


def plain(user: str, password: str) -> bytes:
    return base64.b64encode(f"\0{user}\0{password}".encode())


async def test_a_sink_with_a_login_takes_mail_after_it_only(open_peer: OpenPeer) -> None:
    peer = await open_peer(Sink(SinkBehaviour(login=("shop", "secret"))))
    assert await peer.say(b"MAIL FROM:<a@x.example>\r\n") == [b"530"]
    assert await peer.say(b"AUTH CRAM-MD5\r\n") == [b"504"]
    assert await peer.say(b"AUTH PLAIN " + plain("shop", "wrong") + b"\r\n") == [b"535"]
    assert await peer.say(b"AUTH PLAIN =\r\n") == [b"535"]
    assert await peer.say(b"AUTH LOGIN\r\n*\r\n", 2) == [b"334", b"501"]
    assert await peer.say(b"AUTH PLAIN\r\n" + plain("shop", "secret") + b"\r\n", 2) == [
        b"334",
        b"235",
    ]
    assert (await peer.say(ENVELOPE + MESSAGE, 4))[-1] == b"250"


@pytest.mark.parametrize(
    ("tls", "user", "password"), [(True, "shop", "secret"), (False, "schäfer", "größe")]
)
async def test_send_logs_in_at_a_sink(tmp_path: Path, tls: bool, user: str, password: str) -> None:
    context = self_signed(tmp_path, "localhost").context if tls else None
    sink = Sink(SinkBehaviour(tls=context, login=(user, password)))
    serving, address = await listen_sink(sink, ListenAddress("127.0.0.1", 0))
    port = address.rpartition(":")[2]
    where = ("--server", f"localhost:{port}", "--to", "you@far.example", "--user", user)
    flags = ("--tls", "starttls", "--ca", str(tmp_path / "cert.pem")) if tls else ()
    environment = {**os.environ, "POSTROAD_PASSWORD": password}
    code, _, err = await run("send", *where, *flags, environment=environment)
    assert code == 0, err
    code, _, err = await run("send", *where, environment=environment)
    assert code == int(tls), err
    assert ("takes no login here; try --tls starttls" in err) is tls
    serving.close()
    await sink.hang_up()


async def test_what_was_said_in_clear_behind_starttls_is_not_taken(
    open_peer: OpenPeer, tmp_path: Path
) -> None:
    peer = await open_peer(Sink(SinkBehaviour(tls=self_signed(tmp_path, "localhost").context)))
    assert await peer.say(b"STARTTLS\r\nMAIL FROM:<a@x.example>\r\n") == [b"220"]
    trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    await peer.writer.start_tls(trusting, server_hostname="localhost")
    assert await peer.say(ENVELOPE, 3) == [b"503"] * 3, "EHLO counts again, under TLS"
    await peer.greet()
    assert await peer.say(b"RCPT TO:<b@y.example>\r\n") == [b"503"], "MAIL was not taken"
    assert await peer.say(ENVELOPE + MESSAGE + b"STARTTLS\r\n", 5) == [
        *(b"250", b"250", b"354", b"250", b"503"),
    ]


async def test_a_line_that_ends_otherwise_is_refused(open_peer: OpenPeer) -> None:
    peer = await open_peer(Sink())
    assert await peer.say(b"NOOP\nNOOP\r\n") == [b"554"]
    assert await peer.reader.read() == b""


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--auth", "shop"), "--auth takes USER:PASSWORD"),
        (("--defer", "0.6", "--reject", "0.6"), "add up to more than 1"),
    ],
)
async def test_a_wrong_flag_is_one_sentence_and_exit_code_2(
    flags: tuple[str, ...], says: str
) -> None:
    code, _, err = await run("sink", *flags)
    assert code == 2
    assert says in err
    assert len(err.splitlines()) == 1
