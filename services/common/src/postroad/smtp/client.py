"""
The client side of an SMTP session as a state machine without I/O.

Each `say_…` returns octets to write and notes the replies to expect. `receive` takes octets and
pairs each reply with the command that it answers. The caller writes, reads and keeps the time:
`waiting_for` names the phase whose timeout applies (RFC 5321 §4.5.3.2).
"""

from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum

from postroad.mail.valueclass import valueclass
from postroad.smtp import command
from postroad.smtp.errors import LocalProtocolError, RemoteProtocolError
from postroad.smtp.extensions import Extensions
from postroad.smtp.reply import Reply
from postroad.smtp.reply_reader import Due, ReplyReader


class Phase(StrEnum):
    """What a conversation waits for."""

    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "EHLO"
    HELO = "HELO"
    STARTTLS = "STARTTLS"
    HANDSHAKE = "TLS handshake"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    CONTENT = "content"
    FINAL_DOT = "final dot"
    RSET = "RSET"
    QUIT = "QUIT"


@valueclass(frozen=True, slots=True)
class Answered:
    """A reply and what it answers; `number` counts the recipients from 0."""

    phase: Phase
    number: int
    reply: Reply


class ClientConversation:
    """
    One conversation, from the greeting to QUIT.

    `redacted` takes what nobody may see out of a peer's line that an error quotes.
    """

    def __init__(self, redacted: Callable[[str], str] = str) -> None:
        self.extensions = Extensions()
        self.over = False  # the server closes (221 or 421), or broke the protocol
        self.fault: RemoteProtocolError | None = None
        self._reader = ReplyReader(self._due, redacted)
        self._awaited: deque[tuple[Phase, int]] = deque([(Phase.GREETING, 0)])

    @property
    def waiting_for(self) -> Phase | None:
        """The phase of the next reply, None when no reply is due."""
        return self._awaited[0][0] if self._awaited else None

    @property
    def passed_over(self) -> str:
        """The beginning of the last line that was ignored because it is no reply."""
        return self._reader.passed_over

    def _due(self) -> Due:
        if self.waiting_for is Phase.FINAL_DOT:
            return Due.FINAL_DOT
        return Due.ONE if len(self._awaited) == 1 else Due.SEVERAL

    def receive(self, data: bytes) -> list[Answered]:
        """
        Take octets and return the replies with what they answer.

        Raises RemoteProtocolError when the octets are no replies. If valid replies came before,
        they are returned instead; the session is `over` then, and `fault` has the error.
        """
        events: list[Answered] = []
        try:
            for reply in self._reader.feed(data):
                self._pair(reply, events)
        except RemoteProtocolError as error:
            if not events:
                raise
            self.over, self.fault = True, error
        return events

    def _pair(self, reply: Reply, events: list[Answered]) -> None:
        if reply.code == 421:
            self.over = True
        if self._awaited:
            events.append(Answered(*self._awaited.popleft(), reply))
            self.over |= events[-1].phase is Phase.QUIT
        elif reply.code != 421:
            # RFC 5321 §3.8: 421 is the only reply that a server may send at any time.
            raise RemoteProtocolError("a reply that answers nothing")

    def _expect(self, phase: Phase, number: int = 0) -> None:
        if self.over:
            raise LocalProtocolError("the conversation is over")
        self._awaited.append((phase, number))

    def say_ehlo(self, name: str) -> bytes:
        """Introduce ourselves."""
        self._expect(Phase.EHLO)
        return command.line(f"EHLO {name}")

    def say_helo(self, name: str) -> bytes:
        """Introduce ourselves to a server that does not know EHLO."""
        self._expect(Phase.HELO)
        return command.line(f"HELO {name}")

    def greeted(self, reply: Reply, *, extended: bool) -> None:
        """Store the extensions that the server announced in its reply to EHLO or HELO."""
        self.extensions = Extensions.parse(reply.lines) if extended else Extensions()

    def say_starttls(self) -> bytes:
        """Ask for TLS."""
        self._expect(Phase.STARTTLS)
        return command.line("STARTTLS")

    def tls_started(self) -> None:
        """Forget everything said in clear (RFC 3207 §4.2)."""
        if self._awaited or self.over or not self._reader.empty:
            raise RemoteProtocolError("the server spoke between STARTTLS and the handshake")
        self._reader.clear()
        self.extensions = Extensions()

    def say_auth(self, octets: bytes) -> bytes:
        """Send one step of AUTH, a whole line as made by `smtp.command`."""
        self._expect(Phase.AUTH)
        return octets

    def say_envelope(self, mail: bytes, recipients: Sequence[bytes]) -> bytes:
        """Send MAIL, every RCPT and DATA at once, as PIPELINING allows."""
        self._expect(Phase.MAIL)
        for number in range(len(recipients)):
            self._expect(Phase.RCPT, number)
        self._expect(Phase.DATA)
        return b"".join([mail, *recipients, b"DATA\r\n"])

    def say_one(self, phase: Phase, octets: bytes, number: int = 0) -> bytes:
        """Send one command of the envelope, to a server without PIPELINING."""
        self._expect(phase, number)
        return octets

    def end_content(self, octets: bytes) -> bytes:
        """Send the last of the content, with the final dot."""
        self._expect(Phase.FINAL_DOT)
        return octets

    def break_off(self) -> None:
        """Expect a reply to content that will not be finished."""
        self._expect(Phase.CONTENT)

    def say_rset(self) -> bytes:
        """Abort the transaction."""
        self._expect(Phase.RSET)
        return b"RSET\r\n"

    def say_quit(self) -> bytes:
        """End the session."""
        self._expect(Phase.QUIT)
        return b"QUIT\r\n"
