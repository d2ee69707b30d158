"""Client and server without a network: each octet passes from one core to the other."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.smtp import command
from postroad.smtp.client import Answered, ClientConversation, Phase
from postroad.smtp.dotstuff import DotStuffer
from postroad.smtp.errors import LocalProtocolError
from postroad.smtp.reply import Reply
from postroad.smtp.server import refusals
from postroad.smtp.server.conversation import ServerConversation
from postroad.smtp.server.events import CommandLine, ContentPiece, SaslResponse

OK = Reply.of(250, "2.0.0", "ok")
USUAL = {
    "EHLO": Reply(250, None, ("mx.test", "PIPELINING", "SIZE 1000000", "STARTTLS")),
    "DATA": Reply.of(354, None, "go on"),
    "STARTTLS": Reply.of(220, "2.0.0", "go on"),
    "QUIT": Reply.of(221, "2.0.0", "bye"),
}
Lines = list[bytes]  # of MAIL and of the RCPTs that were taken


@dataclass
class ConnectionPair:
    """
    A client and a server in memory.

    What the client says is cut into pieces of `size` octets, and what the server says too. `decide`
    gives the reply to a verb, "." for the content, None for the usual one.
    """

    size: int = 1_000_000
    decide: Callable[[str], Reply | None] = lambda _: None
    client: ClientConversation = field(default_factory=ClientConversation)
    server: ServerConversation[Lines] = field(default_factory=ServerConversation)
    taken: list[tuple[Lines, bytes]] = field(default_factory=list)
    envelope: Lines = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)
    content: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.hears(self.says(Reply.of(220, None, "mx.test ESMTP")))

    def says(self, reply: Reply) -> bytes:
        """Return a reply of the server's, and take it down."""
        self.server.answered(reply.code)
        return reply.wire

    def hears(self, octets: bytes) -> None:
        """Give the client what the server says."""
        for start in range(0, len(octets), self.size):
            self.answers += self.client.receive(octets[start : start + self.size])

    def send(self, octets: bytes) -> list[int]:
        """Give the server what the client says; return the codes that answer it."""
        known = len(self.answers)
        for start in range(0, len(octets), self.size):
            self.server.receive(octets[start : start + self.size])
            said = b""
            while (event := self.server.next_event()) is not None:
                match event:
                    case ContentPiece(piece, last):
                        self.content += piece
                        said += self.says(self._content_ends()) if last else b""
                    case SaslResponse():
                        said += self.says(Reply.of(235, "2.7.0", "welcome"))
                    case CommandLine():
                        said += self.says(self._reply(event))
            self.hears(said)
        return [answer.reply.code for answer in self.answers[known:]]

    def _reply(self, said: CommandLine) -> Reply:
        reply = said.refusal or self.decide(said.verb) or USUAL.get(said.verb, OK)
        if said.verb == "MAIL" and reply.is_positive:
            self.envelope = [said.line]
            self.server.begin(self.envelope)
        elif said.verb == "RCPT" and reply.is_positive:
            self.envelope.append(said.line)
        return reply

    def _content_ends(self) -> Reply:
        reply = self.decide(".") or OK
        if reply.is_positive:
            self.taken.append((self.envelope, bytes(self.content)))
        self.content.clear()
        return reply

    def greet(self) -> None:
        """Introduce the client."""
        assert self.send(self.client.say_ehlo("me.example")) == [250]
        self.client.greeted(self.answers[-1].reply, extended=True)


def stuffed(content: bytes) -> bytes:
    stuffer = DotStuffer()
    return stuffer.feed(content) + stuffer.finish()


def rcpt(number: int) -> bytes:
    return b"RCPT TO:<b%d@y.example>\r\n" % number


MAIL = b"MAIL FROM:<a@x.example>\r\n"
verdicts = st.sampled_from([OK, Reply.of(450, "4.2.1", "later"), Reply.of(550, "5.1.1", "no")])
line = st.lists(st.sampled_from([b".", b"a", b".a", b"", b"\t"]), max_size=4).map(b"".join)
contents = st.lists(line, max_size=6).map(lambda lines: b"".join(each + b"\r\n" for each in lines))


@given(
    size=st.integers(1, 200),
    replies=st.lists(verdicts, min_size=4, max_size=4),
    content=contents,
    pipelined=st.booleans(),
)
def test_both_sides_have_the_same_message_however_it_is_cut_and_answered(
    size: int, replies: list[Reply], content: bytes, pipelined: bool
) -> None:
    """The server has taken what the client was told it took, and nothing else."""
    left = iter(replies)
    pair = ConnectionPair(size, lambda verb: next(left) if verb in ("RCPT", ".") else None)
    pair.greet()
    client, rcpts = pair.client, [rcpt(number) for number in range(3)]
    if pipelined:
        codes = pair.send(client.say_envelope(MAIL, rcpts))
    else:
        codes = pair.send(client.say_one(Phase.MAIL, MAIL))
        for number, each in enumerate(rcpts):
            codes += pair.send(client.say_one(Phase.RCPT, each, number))
        codes += pair.send(client.say_one(Phase.DATA, b"DATA\r\n"))
    accepted = [each for each, code in zip(rcpts, codes[1:4], strict=True) if code == 250]
    assert codes[4] == (354 if accepted else 503)
    if accepted:
        [end] = pair.send(client.end_content(stuffed(content)))
        assert pair.taken == (
            [([MAIL[:-2], *(each[:-2] for each in accepted)], content)] * (end == 250)
        )
    assert pair.server.transaction is None or not accepted
    assert pair.send(client.say_quit()) == [221]
    assert pair.server.over
    assert client.over


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_nothing_said_in_clear_counts_under_tls(size: int) -> None:
    pair = ConnectionPair(size)
    pair.greet()
    octets = pair.client.say_starttls() + b"NOOP\r\nMAIL FROM:<evil@x.example>\r\n"
    assert pair.send(octets) == [220]
    assert pair.server.in_handshake
    pair.client.tls_started()
    pair.server.tls_started()
    assert pair.send(pair.client.say_one(Phase.MAIL, MAIL)) == [503], "EHLO again, under TLS"
    pair.greet()
    assert pair.send(pair.client.say_starttls()) == [503]
    assert pair.send(pair.client.say_one(Phase.MAIL, MAIL)) == [250]


def test_a_login_in_two_steps() -> None:
    challenge = Reply.of(334, None)
    pair = ConnectionPair(decide=lambda verb: challenge if verb == "AUTH" else None)
    pair.greet()
    assert pair.send(pair.client.say_auth(command.line("AUTH PLAIN"))) == [334]
    assert pair.send(pair.client.say_auth(command.line("AGEAYg=="))) == [235]


@pytest.mark.parametrize(
    ("said", "codes"),
    [
        ([MAIL, MAIL, rcpt(0)], [250, 503, 250]),  # the first stays
        ([rcpt(0)], [503]),
        ([MAIL, b"DATA\r\n"], [250, 503]),
        ([MAIL, b"RSET\r\n", rcpt(0)], [250, 250, 503]),
        ([MAIL, b"EHLO me\r\n", rcpt(0)], [250, 250, 503]),
        ([MAIL, rcpt(0), b"DATA\r\n", b".\r\n", rcpt(1)], [250, 250, 354, 250, 503]),
        ([MAIL, b"AUTH PLAIN AGEAYg==\r\n"], [250, 503]),
        ([b"AUTH PLAIN AGEAYg==\r\n", b"AUTH PLAIN AGEAYg==\r\n"], [250, 503]),
        ([b"HELO me\r\n", b"AUTH PLAIN AGEAYg==\r\n"], [250, 503]),
        ([b"NOOP " + b"x" * 5000 + b"\r\n", b"NOOP\r\n"], [500, 250]),
    ],
)
def test_commands_out_of_order_are_refused(said: list[bytes], codes: list[int]) -> None:
    server = greeted()
    server.receive(b"".join(said))
    heard = []
    while (event := server.next_event()) is not None:
        if isinstance(event, ContentPiece) and not event.last:
            continue
        reply = OK
        if isinstance(event, CommandLine):
            reply = event.refusal or USUAL.get(event.verb, OK)
            if event.verb == "MAIL" and event.refusal is None:
                server.begin([event.line])
        server.answered(reply.code)
        heard.append(reply.code)
    assert heard == codes


def greeted() -> ServerConversation[Lines]:
    """Return a server whose client has said EHLO."""
    server = ServerConversation[Lines]()
    server.answered(220)
    server.receive(b"EHLO me.example\r\n")
    server.next_event()
    server.answered(250)
    return server


def test_a_transaction_is_given_up_by_the_server_or_refused_with_its_mail() -> None:
    server = greeted()
    for _ in range(2):
        server.receive(MAIL)
        server.next_event()
        server.begin([MAIL])
        server.answered(451)
        assert server.transaction is None
    server.receive(MAIL + rcpt(0))
    server.next_event()
    server.begin([MAIL])
    server.answered(250)
    assert server.transaction == [MAIL]
    server.next_event()
    server.give_up_transaction()
    server.answered(451)
    server.receive(b"DATA\r\n")
    assert server.next_event() == CommandLine(b"DATA", "DATA", "", refusals.MAIL_FIRST)


def test_a_line_of_auth_may_be_longer() -> None:
    server = greeted()
    server.receive(b"AUTH PLAIN " + b"a" * 5000 + b"\r\n")
    event = server.next_event()
    assert isinstance(event, CommandLine)
    assert event.refusal is None
    server.answered(334)
    server.receive(b"a" * 12288 + b"\r\n")
    assert server.next_event() == SaslResponse(b"a" * 12288)
    server.answered(334)
    server.receive(b"a" * 12289 + b"\r\n")
    assert server.next_event() == SaslResponse(None)


def test_a_reply_that_the_state_forbids_is_refused() -> None:
    server = ServerConversation[Lines]()
    server.answered(220)
    with pytest.raises(LocalProtocolError):
        server.answered(250)
    server.receive(b"NOOP\r\n")
    assert server.next_event() == CommandLine(b"NOOP", "NOOP", "")
    with pytest.raises(LocalProtocolError):
        server.answered(354)
    with pytest.raises(LocalProtocolError):
        server.tls_started()
    with pytest.raises(LocalProtocolError):
        server.begin([])
    server.answered(250)
    server.receive(b"EHLO me\r\n" + MAIL)
    server.next_event()
    server.answered(250)
    server.next_event()
    with pytest.raises(LocalProtocolError):
        server.answered(250)  # granted, and not begun


@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        (b"NOOP\nNOOP\r\n", refusals.BARE_LINE_END),
        (b"NOOP\rNOOP\r\n", refusals.BARE_LINE_END),
        (b"x" * 70_000, refusals.LINE_ENDLESS),
        (b"GET / HTTP/1.1\r\n", refusals.NOT_SMTP),
        (b"\x16\x03\x01", refusals.NOT_SMTP),
    ],
)
def test_what_is_no_line_of_smtp_ends_the_conversation(octets: bytes, reply: Reply) -> None:
    server = ServerConversation[Lines]()
    server.answered(220)
    server.receive(octets)
    with pytest.raises(refusals.UnreadableInput) as caught:
        server.next_event()
    assert caught.value.reply is reply
    assert server.over


def test_a_line_that_holds_no_command_waits_for_a_reply_too() -> None:
    server = ServerConversation[Lines]()
    server.answered(220)
    server.receive(b"MAIL \xff\r\nNOOP\r\n")
    refusal = Reply.of(501, "5.5.4", "a command is not UTF-8")
    assert server.next_event() == CommandLine(b"MAIL \xff", "", "", refusal)
    assert server.next_event() is None
    server.answered(500)
    assert server.next_event() == CommandLine(b"NOOP", "NOOP", "")
