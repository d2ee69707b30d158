"""
One connection to the sink. `smtp.server.conversation` parses what the client sends.

A connection is one protocol object without a task, which is fast enough for load tests. The sink
offers STARTTLS if it has a TLS context, and requires AUTH if it has a login.
"""

import asyncio
import ssl
from typing import cast

from postroad.cli.sink.login import SinkLogin
from postroad.cli.sink.server import TAKEN, Sink
from postroad.smtp.server.conversation import ServerConversation
from postroad.smtp.server.events import CommandLine, ContentPiece, SaslResponse, ServerEvent
from postroad.smtp.server.refusals import UnreadableInput

_GREETING = b"220 sink ESMTP\r\n"
_EHLO = b"250-sink\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n"
_EHLO += b"250-ENHANCEDSTATUSCODES\r\n%b250 SMTPUTF8\r\n"


class SinkProtocol(asyncio.Protocol):
    """One connection to the sink."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._conversation = ServerConversation[list[bytes]]()
        self._envelope: list[bytes] = []  # the lines of MAIL and of the RCPTs that were taken
        self._content = bytearray()
        self._transport: asyncio.Transport | None = None
        self._connection: asyncio.Transport | None = None  # also once the sink has hung up
        self._waiting = False
        self._login = SinkLogin(*login) if (login := sink.behaviour.login) else None
        self._securing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = self._connection = cast(asyncio.Transport, transport)
        self._sink.opened(self._connection)
        self._transport.write(self._said(_GREETING))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._connection is not None:
            self._sink.closed(self._connection)
        self._transport = self._connection = None

    def data_received(self, data: bytes) -> None:
        """Read octets, and answer all commands in them with one write."""
        if self._conversation.in_handshake:
            # This was read under TLS: commands may arrive before start_tls has returned here.
            self._conversation.tls_started()
        self._conversation.receive(data)
        if not self._waiting:
            self._proceed()

    def _said(self, reply: bytes) -> bytes:
        self._conversation.answered(int(reply[:3]))
        return reply

    def _proceed(self) -> None:
        replies: list[bytes] = []
        try:
            while self._transport is not None and not self._waiting:
                event = self._conversation.next_event()
                if event is None:
                    break
                self._take(event, replies)
        except UnreadableInput as error:
            replies.append(error.reply.wire)
            self._write(replies)
            self._hang_up()
            return
        self._write(replies)
        if self._conversation.over:
            self._hang_up()
        elif self._conversation.in_handshake and self._transport is not None:
            self._start_tls(self._transport)

    def _take(self, event: ServerEvent, replies: list[bytes]) -> None:
        match event:
            case ContentPiece(octets, last):
                self._content += octets
                if last:
                    self._content_ends(replies)
            case SaslResponse(line):
                assert self._login is not None
                replies.append(self._said(self._login.answer(line or b"")))
            case CommandLine():
                replies.append(self._said(self._answer(event)))

    def _write(self, replies: list[bytes]) -> None:
        if replies and self._transport is not None:
            self._transport.write(b"".join(replies))
        replies.clear()

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _answer(self, said: CommandLine) -> bytes:
        if said.refusal is not None:
            return said.refusal.wire
        match said.verb:
            case "EHLO":
                return _EHLO % self._offers()
            case "STARTTLS" if self._sink.behaviour.tls is not None:
                return b"220 2.0.0 go ahead\r\n"
            case "AUTH" if self._login is not None:
                if self._needs_tls:
                    return b"538 5.7.11 STARTTLS first\r\n"
                return self._login.begin(said.line)
            case "MAIL" if self._login is not None and not self._login.done:
                return b"530 5.7.0 log in first\r\n"
            case "DATA":
                return b"354 go on\r\n"
            case "QUIT":
                return b"221 2.0.0 bye\r\n"
            case "MAIL":
                self._envelope = [said.line]
                self._conversation.begin(self._envelope)
                return TAKEN
            case "RCPT":
                self._envelope.append(said.line)
                return TAKEN
            case "HELO" | "RSET" | "NOOP":
                return TAKEN
        return b"502 5.5.1 not here\r\n"

    @property
    def _needs_tls(self) -> bool:
        return self._sink.behaviour.tls is not None and not self._conversation.under_tls

    def _offers(self) -> bytes:
        """Return the lines of EHLO's reply that depend on the session."""
        if self._needs_tls:
            return b"250-STARTTLS\r\n"
        return b"250-AUTH PLAIN LOGIN\r\n" if self._login is not None else b""

    def _start_tls(self, transport: asyncio.Transport) -> None:
        context = self._sink.behaviour.tls
        assert context is not None
        transport.pause_reading()  # the TLS layer reads the handshake
        self._waiting = True
        self._securing = asyncio.create_task(self._secure(transport, context))

    async def _secure(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(transport, self, context, server_side=True)
        except OSError:
            secured = None
        if secured is None:
            self.connection_lost(None)
        else:
            self._transport = secured
            if self._conversation.in_handshake:
                self._conversation.tls_started()
            self._waiting = False
            self._proceed()

    def _content_ends(self, replies: list[bytes]) -> None:
        if not self._sink.behaviour.latency:
            self._finish(replies)
            return
        self._write(replies)
        self._waiting = True
        loop = asyncio.get_running_loop()
        loop.call_later(self._sink.behaviour.latency, self._finish_late)

    def _finish_late(self) -> None:
        replies: list[bytes] = []
        self._waiting = False
        self._finish(replies)
        self._write(replies)
        self._proceed()

    def _finish(self, replies: list[bytes]) -> None:
        content, self._content = self._content, bytearray()
        mail, *recipients = map(_path, self._envelope)
        reply = self._sink.verdict(content)
        if reply is None:
            self._write(replies)
            self._hang_up()
            return
        if reply is TAKEN:
            self._sink.take(mail, recipients, content)
        replies.append(self._said(reply))


def _path(line: bytes) -> bytes:
    start, end = line.find(b"<"), line.find(b">")
    return line[start + 1 : end] if 0 <= start < end else b""
