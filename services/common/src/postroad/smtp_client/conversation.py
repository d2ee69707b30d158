"""
A dialog with a peer: commands out, replies in, each in its time. What sessions are made of.

Drives `smtp.client` over a connection. What a peer refuses is a Reply and no error; an error means
that the dialog is over, and says in which phase.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TypeVar

from postroad.policy.model import Credentials
from postroad.smtp.client import Answered, ClientConversation, Phase
from postroad.smtp.errors import RemoteProtocolError
from postroad.smtp.reply import Reply
from postroad.smtp_client.dispositions import Answer
from postroad.smtp_client.network import Connection, NetworkError, TlsFailed
from postroad.smtp_client.peer import SessionError, SessionLost, Timeouts
from postroad.smtp_client.redaction import Redaction

T = TypeVar("T")

_PIECE = 64 * 1024  # octets of content that are written at a time


def unhurried() -> bool:
    """Return that a peer has all the time of RFC 5321."""
    return False


class Conversation:
    """
    One connection with the conversation on it.

    `credentials` are those that the session is for. What the peer says never shows them, from its
    greeting on: it may have heard them in a session before. `is_hurried` is asked at any time,
    during waits too, whether the peer has the hurried times.
    """

    def __init__(
        self,
        connection: Connection,
        timeouts: Timeouts,
        credentials: Credentials | None = None,
        *,
        is_hurried: Callable[[], bool] = unhurried,
    ) -> None:
        self.connection = connection
        self.timeouts = timeouts
        self._is_hurried = is_hurried
        self._redaction = Redaction(credentials) if credentials is not None else None
        self.conversation = ClientConversation(self.redacted)
        self._answers: list[Answered] = []

    @property
    def open(self) -> bool:
        """Whether another command can be said, and nothing is unread or unexpected."""
        return not self.conversation.over and self.connection.usable

    def say(self, phase: Phase, octets: Callable[[], bytes]) -> None:
        """Say a command; SessionLost where the peer has ended the session, or said too much."""
        conversation = self.conversation
        if conversation.over:
            fault = conversation.fault or NetworkError("the server has closed the session")
            raise self.lost(phase, str(fault), _answer(fault))
        self.write(octets())

    def write(self, *parts: bytes | memoryview) -> None:
        """Write octets; SessionLost when the connection is lost."""
        try:
            self.connection.write(*parts)
        except NetworkError as error:
            phase = self.conversation.waiting_for or Phase.MAIL
            # Nothing of it was written, not even the dot.
            phase = Phase.CONTENT if phase is Phase.FINAL_DOT else phase
            raise self.lost(phase, str(error), _answer(error)) from error

    async def write_block(self, data: bytes) -> None:
        """
        Write a part of the content, and wait until the peer has read most of what is out.

        It is written in pieces. TLS makes a copy of what it is given, and keeps it if nobody reads.
        """
        if not data:
            return
        view = memoryview(data)
        pieces = (view[start : start + _PIECE] for start in range(0, len(data), _PIECE))
        try:
            write = partial(self._write_pieces, pieces)
            await self._in_time(Phase.CONTENT, time.monotonic(), write)
        except TimeoutError as error:
            if self.connection.usable:  # else it has spoken instead of reading
                reason = f"no progress in {error} s"
                raise self.lost(Phase.CONTENT, reason, Answer.SILENT) from error
        except NetworkError as error:
            raise self.lost(Phase.CONTENT, str(error), _answer(error)) from error

    async def answer(self, *, ahead: bool = False) -> Reply:
        """
        Return the next reply; SessionLost when it has not come whole in its phase's time.

        It shows no login, except what was announced after EHLO, which has to be read as it is.
        `ahead`: what it answers went out before its time, and is waited for no longer than that is
        worth.
        """
        if not self._answers:
            await self._listen(ahead)
        answered = self._answers.pop(0)
        reply = answered.reply
        if self._redaction is None or (answered.phase is Phase.EHLO and reply.is_positive):
            return reply
        return self._redaction.of_reply(reply)

    def redacted(self, text: str) -> str:
        """Return the peer's words as they may be shown: without the login."""
        return self._redaction.of_text(text) if self._redaction is not None else text

    async def _listen(self, ahead: bool) -> None:
        conversation = self.conversation
        phase = conversation.waiting_for or Phase.QUIT
        began = time.monotonic()
        try:
            while True:
                if conversation.over:
                    closed = NetworkError("the server has closed the session")
                    raise conversation.fault or closed
                read = self.connection.read
                self._answers = conversation.receive(await self._in_time(phase, began, read, ahead))
                if self._answers:
                    return
        except TimeoutError as error:
            reason = f"no answer in {error} s"
            raise self.lost(phase, f"{reason}{self._but()}", Answer.SILENT) from error
        except (NetworkError, RemoteProtocolError) as error:
            raise self.lost(phase, f"{error}{self._but()}", _answer(error)) from error

    async def _in_time(
        self,
        phase: Phase,
        began: float,
        wait: Callable[[float], Awaitable[T]],
        ahead: bool = False,
    ) -> T:
        """
        Return what `wait` returns, which gets the seconds that it may take.

        TimeoutError with the time of the phase, if that is over. It may become shorter meanwhile.
        """
        while True:
            waited = time.monotonic() - began
            hurries = waited >= self.timeouts.of_hurry and self._is_hurried()
            timeouts = self.timeouts.hurried if hurries else self.timeouts
            timeout = timeouts.of_ahead if ahead else timeouts.of(phase)
            left = timeout - waited
            try:
                return await wait(min(left, timeouts.of_hurry))
            except TimeoutError as error:
                if left <= timeouts.of_hurry:
                    raise TimeoutError(f"{timeout:g}") from error

    async def _write_pieces(self, pieces: Iterator[memoryview], timeout: float) -> None:
        """Write pieces, each when the peer has read most of those before; may be called again."""
        async with asyncio.timeout(timeout):
            await self.connection.drained()
            for piece in pieces:
                if not self.connection.usable:
                    return
                self.write(piece)
                await self.connection.drained()

    def _but(self) -> str:
        passed_over = self.conversation.passed_over
        return f", but what is not an SMTP reply: {passed_over!r}" if passed_over else ""

    def lost(self, phase: Phase, reason: str, answer: Answer = Answer.GARBLED) -> SessionLost:
        """Drop the connection; return the error to raise."""
        self.abort()
        # Between the final dot and its answer nobody knows whether the message was taken.
        ambiguous = phase is Phase.FINAL_DOT
        return SessionLost(phase, self.redacted(reason), answer=answer, ambiguous=ambiguous)

    def abort(self) -> None:
        """Drop the connection."""
        self.conversation.over = True
        self.connection.abort()

    def close(self, *, goodbye: bool) -> None:
        """Close, after QUIT where the peer expects a command; never raises."""
        if goodbye:
            try:
                self.connection.write(self.conversation.say_quit())
            except NetworkError:
                pass  # it was only a goodbye
        self.conversation.over = True
        self._close()

    async def quit(self, *, goodbye: bool) -> None:
        """Say QUIT, where the peer expects a command, hear the answer and close; never raises."""
        try:
            if goodbye:
                self.write(self.conversation.say_quit())
                await self.answer()
        except SessionError:
            pass  # it was only a goodbye
        finally:
            self._close()

    def _close(self) -> None:
        self.connection.close(within=self.timeouts.of(Phase.QUIT))


def _answer(error: NetworkError | RemoteProtocolError) -> Answer:
    if isinstance(error, TlsFailed):
        return Answer.TLS_FAULT
    return Answer.CLOSED if isinstance(error, NetworkError) else Answer.GARBLED
