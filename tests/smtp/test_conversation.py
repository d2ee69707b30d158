"""A client's conversation without a network: octets in, replies to commands out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.smtp import command
from postroad.smtp.client import ClientConversation, Phase
from postroad.smtp.errors import LocalProtocolError, RemoteProtocolError
from postroad.smtp.extensions import Extensions

GREETING = b"220 mx.test ESMTP\r\n"
MAIL = b"MAIL FROM:<a@x.example>\r\n"
RCPTS = [b"RCPT TO:<b@y.example>\r\n", b"RCPT TO:<c@y.example>\r\n"]


def heard(conversation: ClientConversation, octets: bytes) -> list[tuple[Phase, int, int]]:
    """Return what octets answer: the phase, the recipient's number, the code."""
    return [(a.phase, a.number, a.reply.code) for a in conversation.receive(octets)]


def greeted(*words: str) -> ClientConversation:
    """Return a conversation after its EHLO, to a server that announced `words`."""
    conversation = ClientConversation()
    assert heard(conversation, GREETING) == [(Phase.GREETING, 0, 220)]
    assert conversation.say_ehlo("me.example") == b"EHLO me.example\r\n"
    lines = ["mx.test", *words]
    text = "".join(f"250-{line}\r\n" for line in lines[:-1]) + f"250 {lines[-1]}\r\n"
    [answer] = conversation.receive(text.encode())
    conversation.greeted(answer.reply, extended=True)
    return conversation


@pytest.mark.parametrize(
    ("words", "extensions"),
    [
        ((), Extensions()),
        (("PIPELINING", "8BITMIME"), Extensions(pipelining=True, eight_bit=True)),
        (("pipelining", "SmtpUtf8"), Extensions(pipelining=True, smtputf8=True)),
        (("SIZE 1000",), Extensions(size=1000)),
        (("SIZE 0",), Extensions()),
        (("SIZE",), Extensions()),
        (("SIZE unlimited",), Extensions()),
        (("SIZE ²",), Extensions()),
        (("STARTTLS", "DSN"), Extensions(starttls=True, dsn=True)),
        (("AUTH plain LOGIN",), Extensions(auth=frozenset({"PLAIN", "LOGIN"}))),
        (("AUTH=LOGIN", "AUTH PLAIN"), Extensions(auth=frozenset({"PLAIN", "LOGIN"}))),
        (("LIMITS RCPTMAX=20 MAILMAX=5",), Extensions(most_recipients=20, most_messages=5)),
        (("limits rcptmax=20 RCPTDOMAINMAX=1",), Extensions(most_recipients=20)),
        (("LIMITS RCPTMAX=0 MAILMAX=many",), Extensions()),
        (("LIMITS", "SIZE=1000"), Extensions(size=1000)),
        (("X-UNHEARD OF", "", "VRFY"), Extensions()),
    ],
)
def test_what_a_server_announces(words: tuple[str, ...], extensions: Extensions) -> None:
    assert greeted(*words).extensions == extensions


def test_helo_announces_nothing_whatever_its_reply_looks_like() -> None:
    conversation = ClientConversation()
    conversation.receive(GREETING)
    conversation.say_ehlo("me.example")
    assert heard(conversation, b"502 5.5.1 what?\r\n") == [(Phase.EHLO, 0, 502)]
    assert conversation.say_helo("me.example") == b"HELO me.example\r\n"
    [answer] = conversation.receive(b"250-mx.test\r\n250 PIPELINING\r\n")
    conversation.greeted(answer.reply, extended=False)
    assert conversation.extensions == Extensions()


def test_each_reply_to_a_pipelined_envelope_is_paired_with_its_command() -> None:
    conversation = greeted("PIPELINING")
    assert conversation.say_envelope(MAIL, RCPTS) == MAIL + RCPTS[0] + RCPTS[1] + b"DATA\r\n"
    answers = b"250 ok\r\n550-5.1.1 no\r\n550 5.1.1 such user\r\n451 4.2.0 later\r\n354 go on\r\n"
    expected = [
        (Phase.MAIL, 0, 250),
        (Phase.RCPT, 0, 550),
        (Phase.RCPT, 1, 451),
        (Phase.DATA, 0, 354),
    ]
    assert heard(conversation, answers) == expected
    assert conversation.waiting_for is None
    assert conversation.end_content(b".\r\n") == b".\r\n"
    assert heard(conversation, b"250 taken\r\n") == [(Phase.FINAL_DOT, 0, 250)]


@given(st.lists(st.integers(0, 60), max_size=6))
def test_where_pipelined_replies_are_cut_does_not_matter(cuts: list[int]) -> None:
    conversation = greeted("PIPELINING")
    conversation.say_envelope(MAIL, RCPTS)
    octets = b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n550 5.1.1 no\r\n354 go on\r\n"
    ends = sorted(min(cut, len(octets)) for cut in cuts)
    found = []
    for start, end in zip([0, *ends], [*ends, len(octets)], strict=True):
        found += heard(conversation, octets[start:end])
    assert [code for _, _, code in found] == [250, 250, 550, 354]
    assert [number for _, number, _ in found] == [0, 0, 1, 0]


def test_one_command_at_a_time_without_pipelining() -> None:
    conversation = greeted()
    assert conversation.say_one(Phase.MAIL, MAIL) == MAIL
    assert heard(conversation, b"250 ok\r\n") == [(Phase.MAIL, 0, 250)]
    for number, rcpt in enumerate(RCPTS):
        assert conversation.say_one(Phase.RCPT, rcpt, number) == rcpt
        assert heard(conversation, b"250 ok\r\n") == [(Phase.RCPT, number, 250)]


def test_the_phase_that_is_waited_for_is_the_next_reply_s() -> None:
    conversation = ClientConversation()
    assert conversation.waiting_for is Phase.GREETING
    conversation = greeted("PIPELINING")
    assert conversation.waiting_for is None
    conversation.say_envelope(MAIL, RCPTS)
    phases: list[Phase] = []
    while conversation.waiting_for is not None:
        phases.append(conversation.waiting_for)
        conversation.receive(b"250 ok\r\n")
    assert phases == [Phase.MAIL, Phase.RCPT, Phase.RCPT, Phase.DATA]


def test_after_starttls_nothing_of_before_counts() -> None:
    conversation = greeted("STARTTLS", "PIPELINING", "AUTH PLAIN")
    assert conversation.say_starttls() == b"STARTTLS\r\n"
    assert heard(conversation, b"220 go on\r\n") == [(Phase.STARTTLS, 0, 220)]
    conversation.tls_started()
    assert conversation.extensions == Extensions()
    conversation.say_ehlo("me.example")
    [answer] = conversation.receive(b"250-mx.test\r\n250 SMTPUTF8\r\n")
    conversation.greeted(answer.reply, extended=True)
    assert conversation.extensions == Extensions(smtputf8=True)


@pytest.mark.parametrize("injected", [b"250 in clear\r\n", b"250", b"421 bye\r\n", b"nonsense\r\n"])
def test_what_is_said_in_clear_behind_starttls_is_never_taken_for_protected(
    injected: bytes,
) -> None:
    conversation = greeted("STARTTLS")
    conversation.say_starttls()
    conversation.receive(b"220 go on\r\n" + injected)
    with pytest.raises(RemoteProtocolError):
        conversation.tls_started()


def test_the_steps_of_auth_login() -> None:
    conversation = greeted("AUTH LOGIN")
    steps = ["AUTH LOGIN", command.encoded("user"), command.encoded("pass")]
    codes = []
    for step, reply in zip(steps, [b"334 VXNlcg==", b"334 UGFzcw==", b"235 2.7.0 ok"], strict=True):
        conversation.say_auth(command.line(step))
        codes += heard(conversation, reply + b"\r\n")
    assert codes == [(Phase.AUTH, 0, 334), (Phase.AUTH, 0, 334), (Phase.AUTH, 0, 235)]


@pytest.mark.parametrize("after", range(5))
def test_421_at_any_point_ends_the_conversation(after: int) -> None:
    conversation = greeted("PIPELINING")
    conversation.say_envelope(MAIL, RCPTS)
    conversation.receive(b"250 ok\r\n" * after)
    assert not conversation.over
    conversation.receive(b"421 4.3.2 closing\r\n")
    assert conversation.over
    with pytest.raises(LocalProtocolError):
        conversation.say_rset()


def test_421_for_nothing_is_heard_as_a_goodbye() -> None:
    conversation = greeted()
    assert heard(conversation, b"421 4.4.2 idle for too long\r\n") == []
    assert conversation.over


def test_a_reply_that_answers_nothing_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError):
        greeted().receive(b"250 ok\r\n")


@pytest.mark.parametrize("more", [b"250 2.0.0 ok again\r\n", b"nonsense\r\n", b"221 bye\r\n"])
def test_an_answer_counts_whatever_is_said_behind_it(more: bytes) -> None:
    conversation = greeted()
    conversation.end_content(b".\r\n")
    assert heard(conversation, b"250 taken\r\n" + more) == [(Phase.FINAL_DOT, 0, 250)]
    assert conversation.over, "nothing can be relied on any more"


@pytest.mark.parametrize("taken", [b"250ok\r\n", b"noise\r\n250 taken\r\n"])
def test_the_dot_s_answer_may_be_odd_also_where_an_envelope_went_out_with_it(taken: bytes) -> None:
    conversation = greeted("PIPELINING")
    conversation.end_content(b".\r\n")
    conversation.say_envelope(MAIL, RCPTS[:1])
    assert heard(conversation, taken + b"250 ok\r\n250 ok\r\n354 go on\r\n") == [
        (Phase.FINAL_DOT, 0, 250),
        (Phase.MAIL, 0, 250),
        (Phase.RCPT, 0, 250),
        (Phase.DATA, 0, 354),
    ]


def test_what_was_answered_before_nonsense_stays_answered() -> None:
    conversation = greeted("PIPELINING")
    conversation.say_envelope(MAIL, RCPTS)
    assert heard(conversation, b"550 no\r\nnonsense\r\n") == [(Phase.MAIL, 0, 550)]
    assert conversation.over
    assert "nonsense" in str(conversation.fault)


def test_nonsense_in_place_of_an_answer_is_an_error() -> None:
    conversation = greeted("PIPELINING")
    conversation.say_envelope(MAIL, RCPTS)
    with pytest.raises(RemoteProtocolError):
        conversation.receive(b"nonsense\r\n")


def test_a_conversation_goes_on_after_rset_and_ends_with_quit() -> None:
    conversation = greeted("PIPELINING")
    for _ in range(3):
        conversation.say_envelope(MAIL, RCPTS[:1])
        heard(conversation, b"250 ok\r\n550 no\r\n503 no recipients\r\n")
        assert conversation.say_rset() == b"RSET\r\n"
        assert heard(conversation, b"250 ok\r\n") == [(Phase.RSET, 0, 250)]
    assert conversation.say_quit() == b"QUIT\r\n"
    assert not conversation.over
    assert heard(conversation, b"221 bye\r\n") == [(Phase.QUIT, 0, 221)]
    assert conversation.over
