"""The header as octets: its end, its fields in every spelling, and removed fields."""

import email

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.header import (
    HEADER_LIMIT,
    HeaderReader,
    begins_with_field,
    count_fields,
    header_block,
)


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (b"A: 1\r\nB: 2\r\n\r\nbody\r\n\r\nmore", b"A: 1\r\nB: 2\r\n"),
        (b"\r\nonly a body\r\n\r\n", b""),
        (b"A: 1\r\n", b"A: 1\r\n"),
        (b"", b""),
        (b"A: 1\r\n\r\n", b"A: 1\r\n"),
        (b"no field\r\nA: 1\r\n\r\n", b""),
    ],
)
def test_the_header_block_ends_at_the_empty_line(content: bytes, header: bytes) -> None:
    assert header_block(content) == header


def test_the_header_block_is_bounded() -> None:
    assert len(header_block(b"A: 1\r\n" * 100_000)) == HEADER_LIMIT


@pytest.mark.parametrize(
    ("content", "begins"),
    [
        (b"A: 1\r\n", True),
        (b"X-Odd!#$: 1\r\n", True),
        (b"Date : now\r\n", True),
        (b"Date \t: now\r\n", True),
        (b"", False),
        (b"\r\n", False),
        (b" A: 1\r\n", False),
        (b"\tA: 1\r\n", False),
        (b"From me@x.example Mon Jan  1 00:00:00 2024\r\n", False),
        (b">From me: x\r\n", False),
        (b": nothing\r\n", False),
        (b"hello\r\n", False),
        ("Größe: 1\r\n".encode(), False),
    ],
)
def test_what_a_header_begins_with(content: bytes, begins: bool) -> None:
    assert begins_with_field(content) is begins


def test_fields_are_counted_in_any_case_and_only_as_fields() -> None:
    header = (
        b"Received: from a\r\n\tby b\r\nRECEIVED: from c\r\nSubject: Received: never\r\n"
        b"X-Received: no\r\nreceived \t: from d\r\n received: folded\r\nReceived-SPF: no\r\n"
    )
    assert count_fields(header, b"received") == 3
    assert count_fields(b"", b"received") == 0


def reader() -> HeaderReader:
    return HeaderReader(asked=(b"date", b"message-id"), dropped=(b"bcc", b"resent-bcc"))


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (b"Date: now\r\n", True),
        (b"To: a\r\nDATE: now\r\n", True),
        (b"To: a\r\nDate : now\r\n", True),
        (b"X-L: " + b"x" * 100_000 + b"\r\nDate: now\r\n", True),
        (b"X-L: " + b"\r\n ".join([b"x" * 70] * 2000) + b"\r\nDate: now\r\n", True),
        (b"X-Date: now\r\n", False),
        (b"Subject: a\r\n\tDate: folded\r\n", False),
        (b"Subject: a\r\n\r\nDate: body\r\n", False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("size", [200_000, 1000, 7])
def test_whether_a_field_is_there_is_asked_of_the_whole_header(
    header: bytes, found: bool, size: int
) -> None:
    content = header + b"\r\nDate: body\r\n"
    reading = reader()
    passed = b"".join(reading.feed(piece) for piece in cut(content, size)) + reading.end()
    assert passed == content
    assert reading.has(b"date") is found


def cut(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


@pytest.mark.parametrize(
    ("content", "passed"),
    [
        (b"A: 1\r\nBcc: x\r\nB: 2\r\n\r\nBcc: y\r\n", b"A: 1\r\nB: 2\r\n\r\nBcc: y\r\n"),
        (b"bcc : x,\r\n\ty\r\nA: 1\r\n\r\n", b"A: 1\r\n\r\n"),
        (b"A: 1\r\nResent-Bcc: x\r\nBCC: y\r\n\r\n", b"A: 1\r\n\r\n"),
        (b"Bcc: " + b"x" * 100_000 + b"\r\nA: 1\r\n\r\n", b"A: 1\r\n\r\n"),
        (b"Bcc: x\r\n\r\nb\r\n", b"\r\nb\r\n"),
        (b"Bcc: x\r\n", b""),
        (b"A: Bcc: x\r\nX-Bcc: y\r\n\r\n", b"A: Bcc: x\r\nX-Bcc: y\r\n\r\n"),
        (b"\r\nBcc: body\r\n", b"\r\nBcc: body\r\n"),
    ],
)
@pytest.mark.parametrize("size", [200_000, 50])
def test_fields_that_are_dropped_are_left_out_whole(
    content: bytes, passed: bytes, size: int
) -> None:
    reading = reader()
    assert b"".join(map(reading.feed, cut(content, size))) + reading.end() == passed


@pytest.mark.parametrize(
    ("content", "needed"),
    [
        (b"A: 1\r\n\r\n", False),
        (b"\r\nbody\r\n", False),
        (b"", False),
        (b"Bcc: x\r\n", False),
        (b" folded\r\n", True),
        (b"body\r\n", True),
        (b"Bcc: x\r\nbody\r\n", True),
        (b"Bcc: x\r\n\r\nbody\r\n", False),
    ],
)
def test_a_separator_is_needed_before_what_is_no_field(content: bytes, needed: bool) -> None:
    reading = reader()
    reading.feed(content)
    reading.end()
    assert reading.needs_separator is needed


LINES = st.sampled_from(
    [b"A: 1", b"Bcc: x", b"bcc :y", b" more", b"\tmore", b"Date: now", b"body", b"", b"\xff" * 30]
)


@given(lines=st.lists(LINES, max_size=12), sizes=st.lists(st.integers(1, 40), max_size=12))
def test_it_does_not_matter_how_content_was_cut(lines: list[bytes], sizes: list[int]) -> None:
    content = b"".join(line + b"\r\n" for line in lines)
    at_once, in_parts = reader(), reader()
    whole = at_once.feed(content) + at_once.end()
    passed, rest = in_parts.feed(content[:9]), content[9:]  # a first piece holds a whole line
    for size in sizes:
        passed += in_parts.feed(rest[:size])
        rest = rest[size:]
    passed += in_parts.feed(rest) + in_parts.end()
    assert passed == whole
    assert in_parts.needs_separator == at_once.needs_separator
    assert in_parts.has(b"date") == at_once.has(b"date")
    assert in_parts.block == at_once.block
    if begins_with_field(whole):
        assert at_once.block == header_block(whole)


@given(st.binary(max_size=60) | st.text(st.sampled_from("A: \t\r\nb"), max_size=40).map(str.encode))
def test_nothing_joins_or_follows_the_fields_in_front(content: bytes) -> None:
    """However content begins, a reader of mail finds the fields in front as they were written."""
    content = b"\r\n".join(content.replace(b"\r", b"").split(b"\n"))
    reading = reader()
    passed = reading.feed(content) + reading.end()
    front = b"Received: ours\r\nDate: ours\r\n" + b"\r\n" * reading.needs_separator
    message = email.message_from_bytes(front + passed)
    assert message.get_all("Received", [])[0] == "ours"
    assert message.get_all("Date", [])[0] == "ours"
    if not begins_with_field(passed):
        assert message.keys() == ["Received", "Date"]


MARK = b"\xef\xbb\xbf"
LINE = b"From me@x.example Mon Jan  1 00:00:00 2024\r\n"


@pytest.mark.parametrize(
    ("content", "passed"),
    [
        (MARK + b"A: 1\r\nBcc: x\r\n\r\nb\r\n", b"A: 1\r\n\r\nb\r\n"),
        (MARK + b"Bcc: x\r\nA: 1\r\n\r\nb\r\n", b"A: 1\r\n\r\nb\r\n"),
        (LINE + b"Bcc: x\r\nA: 1\r\n\r\n", b"X-Mailbox-Line: " + LINE + b"A: 1\r\n\r\n"),
        (b">" + LINE + b"Bcc: x\r\n\r\n", b"X-Mailbox-Line: >" + LINE + b"\r\n"),
        (MARK + LINE + b"Bcc: x\r\n\r\n", b"X-Mailbox-Line: " + LINE + b"\r\n"),
        (b"From : a\r\nBcc: x\r\n\r\n", b"From : a\r\n\r\n"),
        (LINE + b"no header\r\nBcc: x\r\n", LINE + b"no header\r\nBcc: x\r\n"),
        (b"From\r\nBcc: x\r\n\r\n", b"From\r\nBcc: x\r\n\r\n"),
        (MARK + b"text\r\n", MARK + b"text\r\n"),
        (MARK, MARK),
        (b"", b""),
    ],
)
def test_the_marks_of_a_file_do_not_hide_the_header_behind_them(
    content: bytes, passed: bytes
) -> None:
    reading = HeaderReader(asked=(), dropped=(b"bcc",), mends=True)
    assert reading.feed(content) + reading.end() == passed
    assert reading.needs_separator is (bool(passed) and not begins_with_field(passed))
    relayed = HeaderReader(asked=(), dropped=())
    assert relayed.feed(content) + relayed.end() == content
