"""
The server's side of an SMTP conversation as a machine without I/O: octets in, events out.

The counterpart of `smtp.client`, and the one owner of the protocol's state: whether the client is
greeted, under TLS, logged in, in a transaction, and who speaks next. `next_event` gives what the
client said, a command or a piece of content at a time. A command that is none, or that is out of
its order, comes with its refusal. The driver decides on all others, writes the reply, and tells
`answered` its code, which is all that says what follows: content behind a 354, a handshake behind
STARTTLS's 220, the end behind QUIT. So pipelined commands wait for the reply to the one before.

Ingress, the sink and the hosts of tests speak SMTP by this machine. What they add is theirs: whom
they admit, what they announce, how long they wait.
"""

from enum import Enum, auto
from typing import Generic, TypeVar

from postroad.smtp.errors import LocalProtocolError
from postroad.smtp.reply import Reply
from postroad.smtp.server import refusals
from postroad.smtp.server.commands import CommandSyntaxError, may_open, read_command
from postroad.smtp.server.content import ContentReader
from postroad.smtp.server.events import CommandLine, ContentPiece, SaslResponse, ServerEvent
from postroad.smtp.server.lines import take_line
from postroad.smtp.server.refusals import UnreadableInput

# Octets without CRLF. RFC 5321 §4.5.3.1.4 says 512, more with extensions; RFC 4954 §4 wants 12288
# for AUTH and what answers its challenges.
_COMMAND_LINE = 4096
_AUTH_LINE = 12288
_ENDLESS_LINE = 64 * 1024

T = TypeVar("T")


class _State(Enum):
    """What is next: who speaks, and what."""

    GREETING = auto()  # ours
    COMMAND = auto()
    RESPONSE = auto()  # to a 334
    CONTENT = auto()
    REPLY = auto()  # ours
    HANDSHAKE = auto()
    OVER = auto()


# By its class each is found at ten times the cost, and several are for each command.
_GREETING, _COMMAND, _RESPONSE = _State.GREETING, _State.COMMAND, _State.RESPONSE
_CONTENT, _REPLY = _State.CONTENT, _State.REPLY
_HANDSHAKE, _OVER = _State.HANDSHAKE, _State.OVER
_CONTENT_SENT, _MAIL_BEGUN = ".", "MAIL begun"  # what waits for a reply, beside verbs
_new = tuple.__new__  # an event in half the time of calling its class


class ServerConversation(Generic[T]):
    """
    One conversation, from the greeting to its end.

    `transaction` is what the driver keeps of the open one, None without one or once its content is
    due; `recipients` says how many RCPTs were taken in it. `input` is what has come and is not read
    yet: a driver may measure it. `normalise` says whether bare CRs and LFs of the next content are
    made line ends.
    """

    __slots__ = (
        "_asked",
        "_reader",
        "_state",
        "authenticated",
        "extended",
        "greeted",
        "input",
        "normalise",
        "recipients",
        "transaction",
        "under_tls",
    )

    def __init__(self, *, under_tls: bool = False) -> None:
        self.greeted = False
        self.extended = False  # greeted with EHLO
        self.under_tls = under_tls
        self.authenticated = False
        self.transaction: T | None = None
        self.recipients = 0
        self.normalise = False
        self.input = bytearray()
        self._state = _GREETING
        self._asked = ""  # what waits for a reply: a verb, or one of those above
        self._reader: ContentReader | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will be said."""
        return self._state is _OVER

    @property
    def in_handshake(self) -> bool:
        """Whether `tls_started` is due, after a 220 to STARTTLS."""
        return self._state is _HANDSHAKE

    # ------------------------------------------------------------ what the client says

    def receive(self, data: bytes) -> None:
        """Take octets."""
        if self._state is not _OVER:
            self.input += data

    def next_event(self) -> ServerEvent | None:
        """
        Return what the client said next; None until more has come, or the last has its reply.

        UnreadableInput where it is not SMTP: a bare line end in a command, an endless line, another
        protocol's opening.
        """
        state = self._state
        try:
            if state is _COMMAND:
                return self._command()
            if state is _CONTENT:
                return self._content()
            return self._response() if state is _RESPONSE else None
        except UnreadableInput:
            self._state = _OVER
            raise

    def _command(self) -> CommandLine | None:
        line = take_line(self.input)
        if not self.greeted and not self._may_open(line):
            raise UnreadableInput(refusals.NOT_SMTP)
        if line is None:
            if len(self.input) > _ENDLESS_LINE:
                raise UnreadableInput(refusals.LINE_ENDLESS)
            return None
        refusal: Reply | None
        try:
            verb, argument = read_command(line)
            refusal = self._out_of_order(verb)
        except CommandSyntaxError as error:
            verb = argument = ""
            refusal = Reply.of(501, "5.5.4", str(error))
        if len(line) > _COMMAND_LINE and (verb != "AUTH" or len(line) > _AUTH_LINE):
            verb, argument, refusal = "", "", refusals.LINE_TOO_LONG
        self._asked, self._state = verb, _REPLY
        return _new(CommandLine, (line, verb, argument, refusal))

    def _may_open(self, line: bytes | None) -> bool:
        """Whether a client may have begun so, before another protocol is taken for this one."""
        octets = bytes(self.input[:64]) if line is None else line
        return may_open(octets, whole=line is not None)

    def _out_of_order(self, verb: str) -> Reply | None:
        """Return why a command is out of its order, None where it is not."""
        if verb == "RCPT":
            return None if self.transaction is not None else refusals.MAIL_FIRST
        if verb == "DATA":
            if self.transaction is None:
                return refusals.MAIL_FIRST
            return None if self.recipients else refusals.RCPT_FIRST
        if verb == "MAIL":
            if not self.greeted:
                return refusals.HELO_FIRST
            return None if self.transaction is None else refusals.NESTED_MAIL
        if verb == "AUTH":
            return self._out_of_order_auth()
        return refusals.TLS_ALREADY if verb == "STARTTLS" and self.under_tls else None

    def _out_of_order_auth(self) -> Reply | None:
        """RFC 4954 §4 forbids a second login, and one during a transaction."""
        if not self.extended:
            return refusals.HELO_FIRST
        if self.authenticated:
            return refusals.AUTH_ALREADY
        return refusals.AUTH_IN_TRANSACTION if self.transaction is not None else None

    def _response(self) -> SaslResponse | None:
        line = take_line(self.input)
        if line is None:
            if len(self.input) > _ENDLESS_LINE:
                raise UnreadableInput(refusals.LINE_ENDLESS)
            return None
        self._state = _REPLY
        return SaslResponse(line if len(line) <= _AUTH_LINE else None)

    def _content(self) -> ContentPiece | None:
        reader = self._reader
        assert reader is not None
        piece = reader.take(self.input)
        if reader.done:
            self._asked, self._state, self._reader = _CONTENT_SENT, _REPLY, None
        elif not piece:
            return None
        return _new(ContentPiece, (piece, reader.done, reader.bare))

    # ------------------------------------------------------------ what the server says

    def begin(self, transaction: T) -> None:
        """Begin the transaction for which the client asks with MAIL; a 2yz has to follow."""
        if self._state is not _REPLY or self._asked != "MAIL":
            raise LocalProtocolError("no MAIL waits for its reply")
        self.transaction, self.recipients, self._asked = transaction, 0, _MAIL_BEGUN

    def give_up_transaction(self) -> None:
        """End the open transaction for a reason of the server's own."""
        self.transaction, self.recipients = None, 0

    def answered(self, code: int) -> None:
        """
        Take down that a reply with this code is written; LocalProtocolError where none is due.

        421 may be said at any time, and ends the conversation. After the end nobody hears replies.
        """
        if self._state is not _REPLY:
            self._answered_unasked(code)
        elif code < 300:
            self._state, asked = _COMMAND, self._asked
            if asked == "RCPT":
                self.recipients += 1
            elif asked not in (_MAIL_BEGUN, _CONTENT_SENT):
                self._is_granted(asked)
        elif code < 400:
            self._goes_on(code)
        elif code == 421:
            self.end()
        else:
            self._state = _COMMAND
            if self._asked is _MAIL_BEGUN:
                self.give_up_transaction()

    def _answered_unasked(self, code: int) -> None:
        if code == 421:
            self.end()
        elif self._state is _GREETING:
            self._state = _COMMAND  # also after 554: the client may only say QUIT then
        elif self._state is not _OVER:
            raise LocalProtocolError("a reply that nothing asked for")

    def _goes_on(self, code: int) -> None:
        """Do what an intermediate reply means."""
        if code == 354 and self._asked == "DATA":
            self._reader, self._state = ContentReader(normalise=self.normalise), _CONTENT
            self.give_up_transaction()  # RFC 5321 §4.1.1.4: whatever becomes of its content
        elif code == 334 and self._asked == "AUTH":
            self._state = _RESPONSE
        else:
            raise LocalProtocolError(f"{code} is no reply to {self._asked or 'this'}")

    def _is_granted(self, asked: str) -> None:
        """Do what a positive final reply means."""
        if asked in ("EHLO", "HELO"):
            self.greeted, self.extended = True, asked == "EHLO"
            self.give_up_transaction()
        elif asked == "RSET":
            self.give_up_transaction()
        elif asked == "AUTH":
            self.authenticated = True
        elif asked == "STARTTLS":
            self._state = _HANDSHAKE
        elif asked == "QUIT":
            self.end()
        elif asked == "MAIL":
            raise LocalProtocolError("MAIL is granted without a transaction")

    def tls_started(self) -> None:
        """
        Forget everything said in clear (RFC 3207 §4.2), also what came behind STARTTLS.

        What is received from now on has to have come under TLS.
        """
        if self._state is not _HANDSHAKE:
            raise LocalProtocolError("no handshake is due")
        self.input.clear()
        self.under_tls, self.greeted, self.extended = True, False, False
        self.authenticated, self._state = False, _COMMAND
        self.give_up_transaction()

    def end(self) -> None:
        """End the conversation: nothing that the client says counts any more."""
        self._state = _OVER
        self.input.clear()
