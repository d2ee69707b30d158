"""
A scripted MX host for tests: it replies as the test decides, and stores what it receives.

The test's script chooses the reply to each command line. So a test can refuse one recipient, reply
to the first try differently from the second, or hang up at any point. The host supports STARTTLS,
and AUTH with any password.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from postroad.smtp.errors import LocalProtocolError
from postroad.smtp.server.conversation import ServerConversation
from postroad.smtp.server.events import CommandLine, ContentPiece, SaslResponse, ServerEvent
from postroad.testing.streams import hang_up

HANG_UP = b""  # as a reply: close without a reply
SILENCE = b"\0"  # as a reply: send nothing more and ignore all input

BREAK_TLS = b"\1"  # as a reply: send octets that are no TLS record, and close

_NO_REPLY = 500  # the code that stands for a malformed reply
_BLOCK = 64 * 1024  # octets read at once
_ENDS = (HANG_UP, SILENCE, BREAK_TLS)

# Takes a command line (or b"." for the final dot) and how often the verb came before, in all
# sessions; returns the reply, HANG_UP, SILENCE, BREAK_TLS, or None for the usual reply.
Script = Callable[[bytes, int], bytes | None]


@dataclass
class Received:
    """One received message."""

    mail: bytes
    recipients: list[bytes]
    content: bytes
    tls: bool


@dataclass
class ScriptedMx:
    """The server; `async with` opens it on a free port of loopback."""

    script: Script = lambda line, count: None
    extensions: Sequence[str] = ("PIPELINING", "8BITMIME", "SIZE 10000000", "SMTPUTF8")
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False  # TLS from the first octet
    greeting: bytes = b"220 mx.test ESMTP\r\n"
    address: str = "127.0.0.1"
    at_port: int = 0  # 0: any free port
    sessions: int | None = None  # the most concurrent sessions; others are greeted with 421
    slowness: float = 0.0  # seconds before the reply to a final dot
    turned_away: int = 0
    messages: list[Received] = field(default_factory=list)
    commands: list[bytes] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0
    most_open: int = 0
    history: list[str] = field(default_factory=list)  # when connections came and left
    _heard: dict[bytes, int] = field(default_factory=dict)
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def port(self) -> int:
        """The port on which it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        tls = self.tls if self.implicit_tls else None
        self._server = await asyncio.start_server(self._serve, self.address, self.at_port, ssl=tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.hang_up_on_all()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hang_up_on_all(self) -> None:
        """Close all connections, as a server does after an idle timeout."""
        for task in self._tasks:
            task.cancel()

    async def received(self, count: int) -> list[Received]:
        """Wait until so many messages have come, and return them."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.messages) >= count)
        return self.messages

    async def met(self, count: int) -> None:
        """Wait until so many connections have come."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: self.connections >= count)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        self._note("came", writer)
        async with self._arrived:
            self._arrived.notify_all()
        session = _MxSession(self, reader, writer)
        try:
            await session.run()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            self.open_now -= 1
            self._note("left", writer)
            self._tasks.discard(task)
            if session.in_handshake:
                writer.transport.abort()  # its streams never notice that it is closed
            else:
                await hang_up(writer)

    def _note(self, what: str, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")  # None where it is gone already
        port = peer[1] if peer else "?"
        now = asyncio.get_running_loop().time()
        self.history.append(f"{now:.3f} {port} {what}, {self.open_now} open")

    def reply(self, line: bytes, usual: bytes) -> bytes:
        """Return the script's reply to a line, else the usual one."""
        verb = line.split(b" ")[0].upper()
        count = self._heard.get(verb, 0)
        self._heard[verb] = count + 1
        said = self.script(line, count)
        return usual if said is None else said

    async def keep(self, message: Received) -> None:
        """Store a message and wake the tasks that wait for it."""
        async with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()


class _MxSession:
    def __init__(
        self, mx: ScriptedMx, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._mx = mx
        self._reader = reader
        self._writer = writer
        self._conversation = ServerConversation[list[bytes]](under_tls=mx.implicit_tls)
        self._envelope = [b""]  # the lines of MAIL and of the RCPTs that were taken
        self._content = bytearray()
        self.in_handshake = False  # for good when it failed

    async def run(self) -> None:
        mx = self._mx
        if mx.sessions is not None and mx.open_now > mx.sessions:
            mx.turned_away += 1
            await self._says(b"421 4.7.0 too many connections from your address\r\n")
            return
        going = await self._says(mx.greeting)
        while going and not self._conversation.over:
            event = self._conversation.next_event()
            if event is None:
                going = await self._hears()
            else:
                going = await self._answers(event)

    async def _hears(self) -> bool:
        """Read input; return False at its end."""
        if self._conversation.in_handshake:
            await self._start_tls()
        octets = await self._reader.read(_BLOCK)
        self._conversation.receive(octets)
        return bool(octets)

    async def _answers(self, event: ServerEvent) -> bool:
        """Reply to an event; return whether the session goes on."""
        match event:
            case CommandLine(line):
                self._mx.commands.append(line)
                reply = self._mx.reply(line, self._usual(event))
                self._note(event, granted=reply not in _ENDS and _code(reply) // 100 == 2)
                return await self._says(reply)
            case SaslResponse(line):
                line = line or b""
                self._mx.commands.append(line)
                return await self._says(self._mx.reply(line, b"235 2.7.0 welcome\r\n"))
            case ContentPiece(octets, last):
                self._content += octets
                return await self._content_ends() if last else True

    async def _says(self, reply: bytes) -> bool:
        """Send a reply; return whether the session goes on."""
        if reply == SILENCE:
            await self._reader.read()
        if reply == BREAK_TLS:
            os.write(self._writer.get_extra_info("socket").fileno(), b"no record of TLS\r\n")
        if reply in _ENDS:
            return False
        self._writer.write(reply)
        try:
            self._conversation.answered(_code(reply))
        except LocalProtocolError:  # the script breaks the protocol on purpose
            self._conversation.answered(_NO_REPLY)
        return True

    def _note(self, said: CommandLine, *, granted: bool) -> None:
        """Note what was taken of an envelope."""
        if said.verb == "MAIL" and granted:
            self._envelope = [said.line]
            self._conversation.begin(self._envelope)
        elif said.verb == "MAIL" and self._conversation.transaction is None:
            self._envelope = [b""]
        elif said.verb == "RCPT" and granted:
            self._envelope.append(said.line)

    def _usual(self, said: CommandLine) -> bytes:
        if said.refusal is not None:
            return said.refusal.wire
        match said.verb:
            case "EHLO":
                words = ["mx.test", *self._mx.extensions]
                if self._mx.tls is not None and not self._conversation.under_tls:
                    words.append("STARTTLS")
                lines = [f"250-{word}" for word in words[:-1]] + [f"250 {words[-1]}"]
                return "".join(f"{text}\r\n" for text in lines).encode()
            case "DATA":
                return b"354 go on\r\n"
            case "STARTTLS":
                return b"220 go on\r\n"
            case "QUIT":
                return b"221 2.0.0 bye\r\n"
            case "AUTH":
                return b"235 2.7.0 welcome\r\n"
        return b"250 2.0.0 ok\r\n"

    async def _start_tls(self) -> None:
        assert self._mx.tls is not None
        self.in_handshake = True
        await self._writer.start_tls(self._mx.tls)
        self.in_handshake = False
        self._conversation.tls_started()

    async def _content_ends(self) -> bool:
        content, self._content = bytes(self._content), bytearray()
        mail, *recipients = self._envelope
        reply = self._mx.reply(b".", b"250 2.0.0 taken\r\n")
        if reply not in _ENDS and self._mx.slowness:
            await asyncio.sleep(self._mx.slowness)
        if reply not in _ENDS and _code(reply) // 100 == 2 and content and mail:
            message = Received(mail, recipients, content, self._conversation.under_tls)
            await self._mx.keep(message)
        return await self._says(reply)


def _code(reply: bytes) -> int:
    """Return the code of a reply's last line, `_NO_REPLY` if it has none."""
    digits = reply.rstrip(b"\r\n").rpartition(b"\n")[2][:3]
    return int(digits) if digits.isdigit() else _NO_REPLY


def server_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a server's context from two files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
