"""Dot-stuffing: the content arrives unchanged, however it was cut, and nothing in it ends it."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.smtp.dotstuff import DotStuffer

# Content as a client may make it: text, dots and line ends next to each other in any order.
PIECES = st.sampled_from([b".", b"..", b"\r\n", b"\r\n.", b"a", b"bc", b"\r", b"\n"])
CONTENTS = st.lists(PIECES, max_size=40).map(b"".join)


def stuffed(chunks: Sequence[bytes]) -> bytes:
    stuffer = DotStuffer()
    return b"".join([*(stuffer.feed(chunk) for chunk in chunks), stuffer.finish()])


def unstuffed(wire: bytes) -> bytes:
    """Read content as a server does (RFC 5321 §4.5.2): up to the first line that is only a dot."""
    assert wire.endswith(b".\r\n")
    content = b""
    rest = wire
    while True:
        line, _, rest = rest.partition(b"\r\n")
        if line == b".":
            assert not rest, "the content ended before its end"
            return content
        content += line.removeprefix(b".") + b"\r\n"


@pytest.mark.parametrize(
    ("chunks", "wire"),
    [
        ([], b".\r\n"),
        ([b""], b".\r\n"),
        ([b"a\r\n"], b"a\r\n.\r\n"),
        ([b"no end"], b"no end\r\n.\r\n"),
        ([b"half an end\r"], b"half an end\r\r\n.\r\n"),
        ([b".first\r\n"], b"..first\r\n.\r\n"),
        ([b".\r\n"], b"..\r\n.\r\n"),
        ([b"a\r\n.", b"\r\n"], b"a\r\n..\r\n.\r\n"),
        ([b"a\r\n", b".b\r\n"], b"a\r\n..b\r\n.\r\n"),
        ([b"a\r", b"\n.b\r\n"], b"a\r\n..b\r\n.\r\n"),
        ([b"a\r", b"\n", b".", b"b"], b"a\r\n..b\r\n.\r\n"),
        ([b"a\r\n", b"", b"."], b"a\r\n..\r\n.\r\n"),
        ([b"a.", b".b"], b"a..b\r\n.\r\n"),
        ([b"\r\n"], b"\r\n.\r\n"),
    ],
)
def test_dots_that_begin_a_line_are_doubled(chunks: list[bytes], wire: bytes) -> None:
    assert stuffed(chunks) == wire


@given(CONTENTS)
def test_a_server_reads_back_what_was_sent(content: bytes) -> None:
    expected = content if not content or content.endswith(b"\r\n") else content + b"\r\n"
    assert unstuffed(stuffed([content])) == expected


@given(CONTENTS, st.lists(st.integers(0, 80), max_size=12))
def test_where_the_content_is_cut_does_not_matter(content: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    chunks = [content[start:end] for start, end in pairwise(places)]
    assert stuffed(chunks) == stuffed([content])
