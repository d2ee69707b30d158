"""
One session of a load: an SMTP client that sends as fast as the protocol allows.

It parses replies as they come, and sends everything that follows from them in one write. If the
server offers PIPELINING (RFC 2920), it sends the commands up to DATA together. So one core sends
more than a relay accepts. Like mail servers, it waits for the answer to a final dot before the next
message. When a connection ends, a message that was not sent completely is sent again. A message
whose final dot was not answered is ambiguous and is not sent again.
"""

import asyncio
import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

from postroad.cli.handover import Tls, is_for_good, why_no_tls
from postroad.cli.load.figures import LoadFigures
from postroad.cli.load.plan import Letter, Letters, LoadPlan

_POSITIVE = (b"250", b"251", b"252")


class Dispatcher(Protocol):
    """The load that a session is part of, as the session uses it."""

    plan: LoadPlan
    figures: LoadFigures
    letters: Letters

    def await_turn(self, session: "LoadSession") -> None:
        """Call the session's `go` when it may send its next message."""

    def leave(self, session: "LoadSession") -> None:
        """Stop waiting for a turn."""

    def draw(self, now: float) -> int | None:
        """Return the next message's number; None when there are no more."""

    def give_back(self, number: int) -> None:
        """Take back a number whose message was not sent."""

    def accepted(self, number: int, now: float, reply: bytes) -> None:
        """Count a message that was answered by 250."""

    def ambiguous(self, number: int) -> None:
        """Count a message that may have been accepted."""


@dataclass
class _Transaction:
    """A message that is being sent."""

    number: int
    letter: Letter
    said: int = 0  # commands sent
    answered: int = 0
    refusal: bytes = b""
    dot_at: float = 0.0


@dataclass(eq=False)
class LoadSession(asyncio.Protocol):
    """A connection that sends messages until there are no more, or `per_connection` are sent."""

    load: Dispatcher
    over: asyncio.Event = field(default_factory=asyncio.Event)
    failed: str = ""  # why every session would fail the same way; "" if that is not so
    _transport: asyncio.Transport | None = None
    _partial: bytes = b""
    _out: list[bytes] = field(default_factory=list)
    _current: _Transaction | None = None
    _extensions: set[bytes] = field(default_factory=set)
    _secured: bool = False
    _taken: int = 0
    _quitting: bool = False
    _securing: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._step: Callable[[bytes], None] = self._greeted
        self._secured = self.load.plan.tls is Tls.IMPLICIT

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the greeting."""
        self._transport = cast(asyncio.Transport, transport)
        self.load.figures.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the message that was being sent."""
        self.load.leave(self)
        if not self._quitting:
            self.load.figures.lost += 1
        current = self._current
        if current is not None and current.dot_at:
            self.load.figures.ambiguous += 1
            self.load.ambiguous(current.number)
        elif current is not None:
            self.load.give_back(current.number)
        self._transport = self._current = None
        self.over.set()

    @property
    def cut_off(self) -> bool:
        """Whether the connection ended before QUIT."""
        return not self._quitting

    def end(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse replies, and send everything that follows from them in one write."""
        lines = (self._partial + data).split(b"\r\n")
        self._partial = lines.pop()
        for line in lines:
            if line[3:4] == b"-":
                self._extensions.add(line[4:].upper())
            else:
                self._step(line)
        self._flush()

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _fail(self, line: bytes) -> None:
        """Give up this connection: the server refuses us."""
        if line.startswith(b"5") and not self.failed:
            self.failed = line.decode("ascii", "replace")
        self.end()

    # Opening

    def _greeted(self, line: bytes) -> None:
        if not line.startswith(b"220"):
            self._fail(line)
            return
        self.load.figures.greetings += 1
        self._hello()

    def _hello(self) -> None:
        self._extensions.clear()
        self._out.append(b"EHLO %b\r\n" % self.load.plan.hello.encode())
        self._step = self._welcomed

    def _welcomed(self, line: bytes) -> None:
        if not line.startswith(b"250"):
            self._fail(line)
            return
        self._extensions.add(line[4:].upper())
        plan = self.load.plan
        if plan.tls is Tls.STARTTLS and not self._secured:
            self._out.append(b"STARTTLS\r\n")
            self._step = self._tls_offered
        elif plan.login is not None:
            secret = "\0".join(["", *plan.login]).encode()
            self._out.append(b"AUTH PLAIN %b\r\n" % base64.b64encode(secret))
            self._step = self._logged_in
        else:
            self._begin()

    def _tls_offered(self, line: bytes) -> None:
        if not line.startswith(b"220"):
            self._fail(line)
            return
        self._step = self._fail  # the server may send nothing before the handshake
        self._securing = asyncio.create_task(self._secure())

    async def _secure(self) -> None:
        plan, transport = self.load.plan, self._transport
        if transport is None or plan.context is None:
            return
        try:
            secured = await self._loop.start_tls(
                transport, self, plan.context, server_hostname=plan.tls_name or plan.host
            )
        except OSError as error:
            if is_for_good(error):
                self.failed = why_no_tls(plan.server, error)
            self.end()
            return
        if secured is None:
            return  # the connection ended in the handshake
        self._transport = secured
        self._secured = True
        self._hello()
        self._flush()

    def _logged_in(self, line: bytes) -> None:
        if line.startswith(b"235"):
            self._begin()
        else:
            self._fail(line)

    # Messages

    def _begin(self) -> None:
        """Wait for a turn to send the next message, or quit after `per_connection` of them."""
        share = self.load.plan.per_connection
        if share is not None and self._taken >= share:
            self._quit()
            return
        self.load.figures.ready += 1
        self._step = self._unasked
        self.load.await_turn(self)

    def go(self) -> None:
        """Send the next message, or quit if there is none."""
        number = self.load.draw(time.monotonic())
        if number is None:
            self._quit()
        else:
            self._taken += 1
            self._current = self._say_commands(number)
            self._step = self._enveloped
        self._flush()

    def _unasked(self, line: bytes) -> None:
        if not line.startswith(b"421"):
            self._fail(line)

    def _say_commands(self, number: int) -> _Transaction:
        transaction = _Transaction(number, self.load.letters.letter(number))
        commands = transaction.letter.commands
        transaction.said = len(commands) if b"PIPELINING" in self._extensions else 1
        self._out.extend(commands[: transaction.said])
        return transaction

    def _enveloped(self, line: bytes) -> None:
        current = cast(_Transaction, self._current)
        commands = current.letter.commands
        current.answered += 1
        last = current.answered == len(commands)
        if not (line[:3] in _POSITIVE or (last and line[:3] == b"354")):
            current.refusal = current.refusal or line
        if not last:
            if current.said == current.answered:
                self._out.append(commands[current.said])
                current.said += 1
        elif line[:3] == b"354":
            self._say_content(current)
        else:
            self.load.figures.refusal(current.refusal or line)
            self._current = None
            self._out.append(b"RSET\r\n")
            self._step = self._reset

    def _reset(self, line: bytes) -> None:
        if line.startswith(b"250"):
            self._begin()
        else:
            self._fail(line)

    def _say_content(self, current: _Transaction) -> None:
        self._out.append(current.letter.content)
        current.dot_at = time.monotonic()
        self._step = self._answered

    def _answered(self, line: bytes) -> None:
        current = cast(_Transaction, self._current)
        figures = self.load.figures
        if line.startswith(b"2"):
            now = time.monotonic()
            figures.accepted += 1
            figures.recipients += len(current.letter.commands) - 2
            figures.octets += len(current.letter.content) - 3
            figures.latencies.add(now - current.dot_at)
            self.load.accepted(current.number, now, line)
        else:
            figures.refusal(line)
        self._current = None
        self._begin()

    def _quit(self) -> None:
        self._quitting = True
        self._out.append(b"QUIT\r\n")
        self._step = self._parted

    def _parted(self, line: bytes) -> None:
        if self._transport is not None:
            self._transport.close()
