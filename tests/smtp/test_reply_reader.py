"""Parsing replies: the same however the octets are cut, with bounded memory."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.smtp.errors import RemoteProtocolError
from postroad.smtp.reply import Reply
from postroad.smtp.reply_reader import MAX_LINE, MAX_LINES, Due, ReplyReader

DIALOG = (
    b"220 mx.test ESMTP\r\n"
    b"250-mx.test\r\n250-SIZE 1000\r\n250 8BITMIME\r\n"
    b"550-5.7.1 no relaying\r\n550 5.7.1 for you\r\n"
    b"354\r\n"
    b"250 2.0.0 ok\n"
)
REPLIES = [
    Reply.of(220, None, "mx.test ESMTP"),
    Reply.of(250, None, "mx.test", "SIZE 1000", "8BITMIME"),
    Reply.of(550, "5.7.1", "no relaying", "for you"),
    Reply.of(354, None, ""),
    Reply.of(250, "2.0.0", "ok"),
]


def read(*chunks: bytes, due: Due = Due.SEVERAL) -> list[Reply]:
    reader = ReplyReader(lambda: due)
    return [reply for chunk in chunks for reply in reader.feed(chunk)]


def test_a_dialog_is_read_whole_at_once() -> None:
    assert read(DIALOG) == REPLIES


@given(st.lists(st.integers(0, len(DIALOG)), max_size=10))
def test_where_the_octets_are_cut_does_not_matter(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(DIALOG)]
    assert read(*(DIALOG[a:b] for a, b in pairwise(places))) == REPLIES


def test_octets_one_at_a_time_give_the_same_replies() -> None:
    assert read(*(DIALOG[at : at + 1] for at in range(len(DIALOG)))) == REPLIES


NO_REPLIES = [
    b"hello\r\n",
    b"\r\n",
    b"25 short\r\n",
    b"2500 long\r\n",
    b"550no\r\n",
    b"150 not in SMTP\r\n",
    b"600 out of range\r\n",
    b" 250 indented\r\n",
    b"\t*** authorised use only ***\r\n",
    b"250-begun\r\nnothing\r\n",
    b"HTTP/1.1 400 Bad Request\r\n",
]


@pytest.mark.parametrize("octets", [*NO_REPLIES, b"250ok\r\n"])
def test_what_is_no_reply_is_refused_where_several_are_due(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read(octets)


@pytest.mark.parametrize("due", [Due.ONE, Due.FINAL_DOT])
@pytest.mark.parametrize("octets", NO_REPLIES)
def test_what_is_no_reply_is_passed_over_where_one_is_due(octets: bytes, due: Due) -> None:
    [reply] = read(octets, b"250 ready\r\n", due=due)
    assert (reply.code, reply.lines[-1]) == (250, "ready")


@pytest.mark.parametrize("due", Due)
def test_octets_that_are_no_text_are_refused(due: Due) -> None:
    with pytest.raises(RemoteProtocolError):
        read(b"\x16\x03\x01\x00\xa5\n", due=due)


@pytest.mark.parametrize("due", [Due.ONE, Due.FINAL_DOT])
def test_text_without_end_is_no_reply(due: Due) -> None:
    with pytest.raises(RemoteProtocolError):
        read(b"hello\r\n" * MAX_LINES, due=due)
    between = b"hello\r\n" * (MAX_LINES - 1) + b"250 ok\r\n"
    assert len(read(between * 3, due=due)) == 3


def test_what_was_passed_over_is_told_until_a_reply_comes() -> None:
    reader = ReplyReader(lambda: Due.ONE)
    assert list(reader.feed(b"SSH-2.0-OpenSSH_9.6\r\n")) == []
    assert reader.passed_over == "SSH-2.0-OpenSSH_9.6"
    assert len(list(reader.feed(b"220 ready\r\n"))) == 1
    assert reader.passed_over == ""


@pytest.mark.parametrize("due", Due)
@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (
            b"250-checking\r\n550 5.1.1 no such user\r\n",
            Reply.of(550, "5.1.1", "checking", "no such user"),
        ),
        (b"550-no\r\n250-still no\r\n250 yes\r\n", Reply.of(250, None, "no", "still no", "yes")),
        (
            b"250-2.0.0 taken\r\n251 2.0.0 as 12345\r\n",
            Reply.of(251, "2.0.0", "2.0.0 taken", "as 12345"),
        ),
    ],
)
def test_of_codes_that_differ_the_last_decides(octets: bytes, expected: Reply, due: Due) -> None:
    assert read(octets, due=due) == [expected]


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (b"250ok\r\n", 250),
        (b"250: taken\r\n", 250),
        (b"250-2.0.0 taken\r\n250_and done\r\n", 250),
        (b"250-taken\r\nas 12345\r\n250 done\r\n", 250),
        (b"250-taken\r\n554 5.7.1 after all not\r\n", 554),
    ],
)
def test_after_the_final_dot_a_positive_code_is_trusted(octets: bytes, code: int) -> None:
    assert [reply.code for reply in read(octets, due=Due.FINAL_DOT)] == [code]


def test_a_line_that_never_ends_is_refused_while_it_grows() -> None:
    with pytest.raises(RemoteProtocolError):
        read(b"250 ", *[b"x" * 100] * (MAX_LINE // 100 + 1))


def test_a_line_that_ends_too_late_is_refused() -> None:
    assert read(b"250 " + b"x" * (MAX_LINE - 4) + b"\r\n")
    with pytest.raises(RemoteProtocolError):
        read(b"250 " + b"x" * MAX_LINE + b"\r\n")


def test_a_reply_that_never_ends_is_refused() -> None:
    assert len(read(b"250-x\r\n" * (MAX_LINES - 1) + b"250 x\r\n")) == 1
    with pytest.raises(RemoteProtocolError):
        read(b"250-x\r\n" * MAX_LINES)


def test_of_a_long_reply_no_more_is_kept_than_a_line_may_have_and_the_last() -> None:
    explained = b"".join(
        b"450-4.2.1 %d " % n + b"x" * (MAX_LINE // 4) + b"\r\n" for n in range(100)
    )
    [reply] = read(explained + b"450 4.2.1 the end\r\n")
    assert (reply.code, str(reply.status)) == (450, "4.2.1")
    assert (reply.lines[0][:2], reply.lines[-1]) == ("0 ", "the end")
    assert len(reply.text) < MAX_LINE + len("the end") + MAX_LINES
    [after] = read(explained + b"250 2.0.0 ok\r\n")
    assert (after.code, str(after.status)) == (250, "2.0.0")


@pytest.mark.parametrize(
    "octets",
    [
        b"250-x\r\n" * (MAX_LINES + 5) + b"250 x\r\n",
        b"250-x\r\n250-" + b"x" * (MAX_LINE + 1),
        b"250 " + b"x" * (MAX_LINE + 1),
        b"250-x\r\n\0\0\r\n",
    ],
)
def test_what_takes_the_message_is_trusted_even_beyond_all_bounds(octets: bytes) -> None:
    taken = ReplyReader(lambda: Due.FINAL_DOT).feed(octets)
    assert next(taken).code == 250
    with pytest.raises(RemoteProtocolError):
        next(taken)


@pytest.mark.parametrize("first", [b"", b"250-x\r\n"])
def test_what_refuses_the_message_beyond_all_bounds_decides_nothing(first: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read(first + b"550-x\r\n" * MAX_LINES, due=Due.FINAL_DOT)


@pytest.mark.parametrize(
    ("octets", "status", "text"),
    [
        (b"450 4.2.1 wait\r\n", "4.2.1", "wait"),
        (b"450 4.2.1\r\n", "4.2.1", ""),
        (b"450 4.2.1wait\r\n", None, "4.2.1wait"),
        (b"450 3.2.1 no such class\r\n", None, "3.2.1 no such class"),
        (b"450 10.0.0.1 is listed\r\n", None, "10.0.0.1 is listed"),
        (b"450 4.0.0.1 is listed\r\n", None, "4.0.0.1 is listed"),
        ("450 4.2.1 später\r\n".encode(), "4.2.1", "später"),
        (b"450 4.2.1 sp\xe4ter\r\n", "4.2.1", "sp\ufffdter"),
    ],
)
def test_the_enhanced_status_is_told_from_the_text(
    octets: bytes, status: str | None, text: str
) -> None:
    assert read(octets) == [Reply.of(450, status, text)]


def test_nothing_of_before_is_left_after_clearing() -> None:
    reader = ReplyReader()
    assert list(reader.feed(b"250-a\r\n250")) == []
    assert not reader.empty
    reader.clear()
    assert reader.empty
    assert list(reader.feed(b"220 b\r\n")) == [Reply.of(220, None, "b")]
