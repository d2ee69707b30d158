"""
The server side of an SMTP session as a state machine without I/O: octets in, events out.

It is the counterpart of `smtp.client`. `next_event` returns one command or one piece of content.
The caller chooses the reply, writes it, and passes its code to `answered`. The code alone decides
what follows: content after 354, a handshake after 220 to STARTTLS, the end after QUIT. So a
pipelined command waits for the reply to the command before it.

The sink and the MX hosts of tests use this machine. Ingress uses the same parsers but keeps its own
state, because its replies depend on policy, memory and timeouts as well as on the order of
commands.
"""

from enum import Enum, auto
from typing import NamedTuple

from postroad.smtp.errors import LocalProtocolError, RemoteProtocolError
from postroad.smtp.reply import Reply
from postroad.smtp.server.commands import Command, CommandSyntaxError, read_command
from postroad.smtp.server.content import ContentReader
from postroad.smtp.server.lines import take_line

_HELO_FIRST = Reply.of(503, "5.5.1", "send EHLO first")
_NESTED_MAIL = Reply.of(503, "5.5.1", "a transaction is open already")
_MAIL_FIRST = Reply.of(503, "5.5.1", "send MAIL first")
_RCPT_FIRST = Reply.of(554, "5.5.1", "no valid recipients")
_UNDER_TLS = Reply.of(503, "5.5.1", "TLS is active already")


class CommandLine(NamedTuple):
    """A line from the client, as it came, and the command in it; verb "" if it is malformed."""

    line: bytes
    verb: str
    argument: str


class SaslResponse(NamedTuple):
    """A line that answers a 334 (RFC 4954 §4)."""

    line: bytes


class ContentPiece(NamedTuple):
    """A part of the content, without dot-stuffing."""

    octets: bytes


class ContentEnd(NamedTuple):
    """The final dot; `bare` says whether the content has a bare CR or LF."""

    bare: bool


Event = CommandLine | SaslResponse | ContentPiece | ContentEnd


class _State(Enum):
    """What is to come next, from us or from the client."""

    GREETING = auto()  # from us
    COMMAND = auto()
    RESPONSE = auto()  # to a 334
    CONTENT = auto()
    REPLY = auto()  # from us
    HANDSHAKE = auto()
    OVER = auto()


class ServerConversation:
    """
    One conversation, from the greeting to its end.

    `mail` is the MAIL of the open transaction, None without one. `recipients` are the accepted
    RCPTs.
    """

    def __init__(self, *, longest_line: int = 4096, under_tls: bool = False) -> None:
        self.greeted = False
        self.under_tls = under_tls
        self.mail: CommandLine | None = None
        self.recipients: list[CommandLine] = []
        self._longest_line = longest_line  # octets without CRLF
        self._input = bytearray()
        self._state = _State.GREETING
        self._asked = ""  # the verb that waits for a reply, "." for the final dot
        self._said = CommandLine(b"", "", "")
        self._reader = ContentReader()

    @property
    def over(self) -> bool:
        """Whether the session has ended."""
        return self._state is _State.OVER

    @property
    def in_handshake(self) -> bool:
        """Whether `tls_started` is due, after a 220 to STARTTLS."""
        return self._state is _State.HANDSHAKE

    def receive(self, data: bytes) -> None:
        """Take octets. What comes before a handshake is dropped, because it was not encrypted."""
        if self._state not in (_State.HANDSHAKE, _State.OVER):
            self._input += data

    def next_event(self) -> Event | None:
        """
        Return the next event; None until more octets come, or the last event has its reply.

        Raises RemoteProtocolError for a bare CR or LF in a command, and for a line that is too
        long.
        """
        match self._state:
            case _State.COMMAND:
                return self._command()
            case _State.RESPONSE:
                line = self._line()
                if line is not None:
                    self._state = _State.REPLY
                    return SaslResponse(line)
            case _State.CONTENT:
                return self._content()
        return None

    def _line(self) -> bytes | None:
        line = take_line(self._input)
        if len(self._input if line is None else line) > self._longest_line:
            raise RemoteProtocolError("a line is too long")
        return line

    def _command(self) -> CommandLine | None:
        line = self._line()
        if line is None:
            return None
        try:
            said = CommandLine(line, *read_command(line))
        except CommandSyntaxError:
            said = CommandLine(line, *Command("", ""))
        self._said, self._asked, self._state = said, said.verb, _State.REPLY
        return said

    def _content(self) -> ContentPiece | ContentEnd | None:
        if not self._reader.done:
            piece = self._reader.take(self._input)
            if piece:
                return ContentPiece(piece)
        if not self._reader.done:
            return None
        self._asked, self._state = ".", _State.REPLY
        return ContentEnd(self._reader.bare)

    def misplaced(self, said: CommandLine) -> Reply | None:
        """Return the reply to a command that comes out of order (RFC 5321 §4.1.4), else None."""
        match said.verb:
            case "MAIL" if not self.greeted:
                return _HELO_FIRST
            case "MAIL" if self.mail is not None:
                return _NESTED_MAIL
            case "RCPT" | "DATA" if self.mail is None:
                return _MAIL_FIRST
            case "DATA" if not self.recipients:
                return _RCPT_FIRST
            case "STARTTLS" if self.under_tls:
                return _UNDER_TLS
        return None

    def answered(self, code: int) -> None:
        """
        Note that a reply with this code was written; LocalProtocolError when none is due.

        421 is allowed at any time, and ends the session.
        """
        if code == 421:
            self._end()
        elif self._state is _State.GREETING:
            self._state = _State.COMMAND  # also after 554: the client sends QUIT then
        elif self._state is not _State.REPLY:
            raise LocalProtocolError("no reply is due")
        elif 300 <= code < 400:
            self._state = self._goes_on(code)
        else:
            self._state = _State.COMMAND
            self._is_done(positive=200 <= code < 300)

    def _goes_on(self, code: int) -> _State:
        """Return what follows an intermediate reply."""
        if (self._asked, code) == ("DATA", 354):
            self._reader = ContentReader()
            return _State.CONTENT
        if (self._asked, code) == ("AUTH", 334):
            return _State.RESPONSE
        raise LocalProtocolError(f"{code} is no reply to {self._said.verb or 'this'}")

    def _is_done(self, *, positive: bool) -> None:
        """Change the session's state as a final reply requires."""
        if self._asked == ".":
            self._reset()
        elif positive:
            match self._asked:
                case "EHLO" | "HELO":
                    self.greeted = True
                    self._reset()
                case "MAIL":
                    self.mail, self.recipients = self._said, []
                case "RCPT":
                    self.recipients.append(self._said)
                case "RSET":
                    self._reset()
                case "STARTTLS":
                    self._input.clear()  # RFC 3207 §4.2: it was not encrypted
                    self._state = _State.HANDSHAKE
                case "QUIT":
                    self._end()

    def tls_started(self) -> None:
        """Forget everything said in clear (RFC 3207 §4.2)."""
        if self._state is not _State.HANDSHAKE:
            raise LocalProtocolError("no handshake is due")
        self.under_tls, self.greeted, self._state = True, False, _State.COMMAND
        self._reset()

    def _reset(self) -> None:
        self.mail, self.recipients = None, []

    def _end(self) -> None:
        self._state = _State.OVER
        self._input.clear()
