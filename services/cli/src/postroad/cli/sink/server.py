"""
An SMTP server that swallows mail, or keeps it, and fails in the shares it is told to.

The far end for demonstrations, load and fault tests. One protocol object for each connection and
no task: what two cores can send, it can take. It is a next hop for tests, not a mail server: it
checks nothing about addresses. With a context it offers STARTTLS, with a login it wants one.
"""

import asyncio
import itertools
import random
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from postroad.cli.sink.login import SinkLogin

_GREETING = b"220 sink ESMTP\r\n"
_EHLO = b"250-sink\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n"
_EHLO += b"250-ENHANCEDSTATUSCODES\r\n%b250 SMTPUTF8\r\n"
_NOT_NOW = b"503 5.5.1 not now\r\n"
_OK = b"250 2.0.0 ok\r\n"
_MAX_LINE = 4096
_MAX_TRIED = 100_000


@dataclass(frozen=True, slots=True)
class SinkBehaviour:
    """How the sink treats mail. Shares are 0 to 1 of the transactions, drawn at the final dot."""

    defer_share: float = 0.0
    reject_share: float = 0.0
    disconnect_share: float = 0.0
    latency: float = 0.0  # seconds before the reply to the final dot
    defer_first: bool = False  # the first try of each message is deferred
    keep: Path | None = None
    keep_last: int = 1000
    tls: ssl.SSLContext | None = None  # of a server; STARTTLS is offered with it
    login: tuple[str, str] | None = None  # user and password that mail needs, under TLS if there is


@dataclass
class SinkCounts:
    """What the sink has seen so far."""

    connections: int = 0
    accepted: int = 0
    recipients: int = 0
    deferred: int = 0
    rejected: int = 0
    disconnected: int = 0
    octets: int = 0


@dataclass
class Sink:
    """
    The sink as a whole: its behaviour, its counts, and the mail it keeps.

    `on_taken` is told the content of each message it took.
    """

    behaviour: SinkBehaviour = field(default_factory=SinkBehaviour)
    counts: SinkCounts = field(default_factory=SinkCounts)
    on_taken: Callable[[bytearray], None] | None = None
    _kept: deque[Path] = field(default_factory=deque)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _tried: set[int] = field(default_factory=set)
    _open: set[asyncio.Transport] = field(default_factory=set)
    _all_closed: asyncio.Event = field(default_factory=asyncio.Event)

    def opened(self, transport: asyncio.Transport) -> None:
        """Count a connection and keep it in mind."""
        self.counts.connections += 1
        self._open.add(transport)

    def closed(self, transport: asyncio.Transport) -> None:
        """Forget a connection."""
        self._open.discard(transport)
        if not self._open:
            self._all_closed.set()

    async def hang_up(self) -> None:
        """End every connection, and wait until the last one is gone."""
        while self._open:
            self._all_closed.clear()
            for transport in self._open:
                transport.abort()
            await self._all_closed.wait()

    def verdict(self, content: bytearray) -> bytes | None:
        """Return the reply to a final dot, None to hang up without one."""
        how, dice = self.behaviour, random.random()
        if how.defer_first and self._is_first_try(content):
            self.counts.deferred += 1
            return b"451 4.3.0 not the first time\r\n"
        if dice < how.disconnect_share:
            self.counts.disconnected += 1
            return None
        if dice < how.disconnect_share + how.defer_share:
            self.counts.deferred += 1
            return b"451 4.3.0 deferred as told\r\n"
        if dice < how.disconnect_share + how.defer_share + how.reject_share:
            self.counts.rejected += 1
            return b"550 5.7.1 rejected as told\r\n"
        return _OK

    def _is_first_try(self, content: bytearray) -> bool:
        # The relay's own trace field is the same in every try, so the content names the message.
        name = hash(bytes(content))
        if name in self._tried:
            self._tried.discard(name)
            return False
        if len(self._tried) < _MAX_TRIED:
            self._tried.add(name)
            return True
        return False

    def take(self, reverse_path: bytes, forward_paths: list[bytes], content: bytearray) -> None:
        """Count an accepted message; keep it when told to, the envelope in two header fields."""
        self.counts.accepted += 1
        self.counts.recipients += len(forward_paths)
        self.counts.octets += len(content)
        if self.on_taken is not None:
            self.on_taken(content)
        folder = self.behaviour.keep
        if folder is None:
            return
        path = folder / f"{next(self._numbers):06d}.eml"
        envelope = b"X-Envelope-From: %s\r\nX-Envelope-To: %s\r\n" % (
            reverse_path,
            b", ".join(forward_paths),
        )
        path.write_bytes(envelope + content)
        self._kept.append(path)
        if len(self._kept) > self.behaviour.keep_last:
            self._kept.popleft().unlink(missing_ok=True)


class SinkProtocol(asyncio.Protocol):
    """One connection to the sink."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = bytearray()
        self._in_data = False
        self._reverse_path = b""
        self._forward_paths: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._connection: asyncio.Transport | None = None  # also once the sink has hung up
        self._waiting = False
        self._searched = 0  # octets of the content known to hold no end
        self._login = SinkLogin(*login) if (login := sink.behaviour.login) else None
        self._secured = False
        self._securing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = self._connection = cast(asyncio.Transport, transport)
        self._sink.opened(self._connection)
        self._transport.write(_GREETING)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._connection is not None:
            self._sink.closed(self._connection)
        self._transport = self._connection = None

    def data_received(self, data: bytes) -> None:
        """Take octets and answer all commands in them with one write."""
        self._buffer += data
        if not self._waiting:
            self._proceed()

    def _proceed(self) -> None:
        replies: list[bytes] = []
        while self._transport is not None and not self._waiting:
            step = self._content(replies) if self._in_data else self._command(replies)
            if not step:
                break
        if replies and self._transport is not None:
            self._transport.write(b"".join(replies))

    def _command(self, replies: list[bytes]) -> bool:
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > _MAX_LINE and self._transport is not None:
                self._transport.abort()
            return False
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        if self._login is not None and self._login.pending:
            replies.append(self._login.answer(line))
            return True
        replies.append(self._answer(line[:4].upper(), line))
        if line[:4].upper() == b"QUIT" and self._transport is not None:
            self._transport.write(b"".join(replies))
            replies.clear()
            self._transport.close()
            return False
        return True

    def _answer(self, verb: bytes, line: bytes) -> bytes:
        match verb:
            case b"EHLO":
                return _EHLO % self._offers()
            case b"STAR" if self._sink.behaviour.tls is not None:
                return self._start_tls(self._sink.behaviour.tls)
            case b"AUTH" if self._login is not None:
                if self._needs_tls:
                    return b"538 5.7.11 STARTTLS first\r\n"
                return self._login.begin(line)
            case b"MAIL" if self._login is not None and not self._login.done:
                return b"530 5.7.0 log in first\r\n"
            case b"MAIL":
                self._reverse_path, self._forward_paths = _path(line), []
                return _OK
            case b"RCPT":
                self._forward_paths.append(_path(line))
                return _OK
            case b"DATA":
                if not self._forward_paths:
                    return b"503 5.5.1 no recipients\r\n"
                self._in_data = True
                return b"354 go on\r\n"
            case b"QUIT":
                return b"221 2.0.0 bye\r\n"
            case b"HELO" | b"RSET" | b"NOOP":
                return _OK
        return b"502 5.5.1 not here\r\n"

    @property
    def _needs_tls(self) -> bool:
        return self._sink.behaviour.tls is not None and not self._secured

    def _offers(self) -> bytes:
        """Return the lines of EHLO's reply that depend on the session."""
        if self._needs_tls:
            return b"250-STARTTLS\r\n"
        return b"250-AUTH PLAIN LOGIN\r\n" if self._login is not None else b""

    def _start_tls(self, context: ssl.SSLContext) -> bytes:
        if self._secured or self._transport is None:
            return _NOT_NOW
        self._secured = True
        self._transport.pause_reading()  # the handshake is not ours to read
        self._buffer.clear()  # what was said in clear behind it is not taken for said under TLS
        self._forward_paths = []
        self._waiting = True  # commands may be there before we know that the handshake is done
        self._securing = asyncio.create_task(self._secure(self._transport, context))
        return b"220 2.0.0 go ahead\r\n"

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
            self._waiting = False
            self._proceed()

    def _content(self, replies: list[bytes]) -> bool:
        if self._buffer.startswith(b".\r\n"):
            end = 0
        else:
            end = self._buffer.find(b"\r\n.\r\n", self._searched) + 2
        if end == 1:
            self._searched = max(0, len(self._buffer) - 4)
            return False
        self._searched = 0
        content = self._buffer[:end]
        del self._buffer[: end + 3]
        self._in_data = False
        if self._sink.behaviour.latency and self._transport is not None:
            if replies:
                self._transport.write(b"".join(replies))
                replies.clear()
            self._waiting = True
            loop = asyncio.get_running_loop()
            loop.call_later(self._sink.behaviour.latency, self._finish_late, content)
            return False
        return self._finish(content, replies)

    def _finish_late(self, content: bytearray) -> None:
        replies: list[bytes] = []
        self._waiting = False
        if self._transport is not None and self._finish(content, replies):
            self._transport.write(b"".join(replies))
            self._proceed()

    def _finish(self, content: bytearray, replies: list[bytes]) -> bool:
        reply = self._sink.verdict(content)
        if reply is None:
            if self._transport is not None:
                self._transport.write(b"".join(replies))
                self._transport.close()
                self._transport = None
            return False
        if reply is _OK:
            unstuffed = content.replace(b"\r\n..", b"\r\n.")
            self._sink.take(self._reverse_path, self._forward_paths, unstuffed)
        replies.append(reply)
        return True


def _path(line: bytes) -> bytes:
    start, end = line.find(b"<"), line.find(b">")
    return line[start + 1 : end] if 0 <= start < end else b""
