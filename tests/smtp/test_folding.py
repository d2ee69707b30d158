"""Long lines on the way out: folded at 998 octets, except in signed mail."""

import email
import email.policy
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.header import HEADER_LIMIT
from postroad.smtp.folding import LONGEST, LineFolder, has_long_line, is_signed


def folded(content: bytes, size: int = 10_000_000) -> bytes:
    folder = LineFolder()
    chunks = (content[at : at + size] for at in range(0, len(content), size))
    return b"".join(map(folder.feed, chunks)) + folder.end()


def longest(content: bytes) -> int:
    return max(map(len, content.split(b"\r\n")))


@pytest.mark.parametrize(
    ("content", "out"),
    [
        (b"x" * 998 + b"\r\n", b"x" * 998 + b"\r\n"),
        (b"x" * 999 + b"\r\n", b"x" * 998 + b"\r\n x\r\n"),
        (b"x" * 1500 + b"\r\ny\r\n", b"x" * 998 + b"\r\n " + b"x" * 502 + b"\r\ny\r\n"),
        (b"x" * 950 + b" " + b"y" * 99 + b"\r\n", b"x" * 950 + b"\r\n " + b"y" * 99 + b"\r\n"),
        (b"a\r\n" * 999 + b"x" * 999 + b"\r\n", b"a\r\n" * 999 + b"x" * 998 + b"\r\n x\r\n"),
        (b"x" * 997 + "é\r\n".encode(), b"x" * 997 + b"\r\n " + "é\r\n".encode()),
        (b"x" * 996 + "é\r\n".encode(), b"x" * 996 + "é\r\n".encode()),
        (b"\x80" * 999 + b"\r\n", b"\x80" * 995 + b"\r\n " + b"\x80" * 4 + b"\r\n"),  # no UTF-8
    ],
)
def test_a_long_line_is_broken(content: bytes, out: bytes) -> None:
    assert has_long_line(content) == (out != content)
    assert folded(content) == out


# Without the octets that a mark of signed content has: nothing behind such a one is folded.
LINES = st.lists(
    st.sampled_from([b"", b".", b"x" * 60, b"x" * 998, b"x" * 999, b"word " * 700, b"y" * 3000])
    | st.binary(max_size=20).map(lambda octets: re.sub(rb"[\r\n/-]", b"", octets)),
    max_size=8,
)


@given(lines=LINES, size=st.integers(1, 3000))
def test_however_content_is_cut_no_line_is_long_and_only_folds_are_added(
    lines: list[bytes], size: int
) -> None:
    content = b"".join(line + b"\r\n" for line in lines)
    out = folded(content, size)
    assert longest(out) <= LONGEST
    assert re.sub(rb"\r\n| ", b"", out) == re.sub(rb"\r\n| ", b"", content)
    if not has_long_line(content):
        assert out == content


@given(
    before=st.integers(0, 4) | st.integers(990, 1000),
    characters=st.text("aé€😀", min_size=1, max_size=8),
    cut=st.integers(980, 1010),
    size=st.integers(1, 1200),
)
def test_no_character_is_cut_in_two_also_where_a_chunk_ends_within_it(
    before: int, characters: str, cut: int, size: int
) -> None:
    content = b"x" * before + (characters * 500).encode() + b"\r\n"
    folder = LineFolder()
    in_two = folder.feed(content[:cut]) + folder.feed(content[cut:]) + folder.end()
    for out in (in_two, folded(content, size)):
        assert longest(out) <= LONGEST
        assert "".join(line.decode() for line in out.split(b"\r\n ")) == content.decode()


@pytest.mark.parametrize("last", ["é".encode()[:1], "😀".encode()[:3], b"\xff"])
def test_a_line_that_fits_is_left_alone_whatever_it_ends_with(last: bytes) -> None:
    for content in (b"x" * (LONGEST - len(last)) + last, b"x" * (LONGEST - 1) + last[:1] + b"\r\n"):
        for cut in range(LONGEST - 4, LONGEST + 1):
            folder = LineFolder()
            out = folder.feed(content[:cut]) + folder.feed(content[cut:]) + folder.end()
            assert out == content


def test_a_header_field_is_folded_and_says_the_same() -> None:
    to = ", ".join(f"person{n}@x.example" for n in range(200))
    out = folded(f"To: {to}\r\nSubject: hi\r\n\r\nb\r\n".encode())
    message = email.message_from_bytes(out, policy=email.policy.SMTP)
    assert str(message["To"]).replace(",", ", ").split() == to.split()
    assert message["Subject"] == "hi"


@pytest.mark.parametrize(
    ("header", "signed"),
    [
        (b"DKIM-Signature: v=1\r\n", True),
        (b"From: a\r\ndkim-signature : v=1\r\n", True),
        (b"ARC-Seal: i=1\r\n", True),
        (b"Content-Type: multipart/signed; micalg=pgp-sha256\r\n", True),
        (b"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n", True),
        (b"Content-Type: multipart/encrypted\r\n", True),
        (b"X: y\r\n" * HEADER_LIMIT, True),
        (b"Content-Type: text/plain\r\nX-DKIM-Signature: none\r\n", False),
        (b"", False),
    ],
)
def test_what_says_that_content_is_signed(header: bytes, signed: bool) -> None:
    assert is_signed(header[:HEADER_LIMIT]) is signed


@pytest.mark.parametrize(
    "mark",
    [
        *(b"-----BEGIN PGP SIGNED MESSAGE-----", b"multipart/signed;", b"Multipart/Signed;"),
        *(b"MULTIPART/ENCRYPTED;", b"Application/PKCS7-MIME; smime-type=signed-data"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 5000])
def test_nothing_is_folded_behind_the_beginning_of_a_signed_part(mark: bytes, size: int) -> None:
    content = mark + b"\r\n\r\n" + b"x" * 2000 + b"\r\n"
    assert folded(content, size) == content
