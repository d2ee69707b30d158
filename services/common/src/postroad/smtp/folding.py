"""
Lines of outgoing content: none over 998 octets (RFC 5322 §2.1.1), which strict hosts refuse.

A longer line is broken by CRLF and a blank, as Postfix does; at a blank of its own where one is
near, so that a header field only becomes folded. What is signed is left alone: its signer's octets
are the ones that have to arrive. So is what follows the beginning of a signed part.

Content comes in any chunks. Lines of ordinary length are found to be so by one search for each 998
octets.
"""

import re

from postroad.mail.header import HEADER_LIMIT, count_fields

LONGEST = 998  # octets without CRLF

_NEAR = 100  # octets before the limit in which a blank is looked for
_SIGNATURES = (b"dkim-signature", b"arc-message-signature", b"arc-seal", b"domainkey-signature")
# S/MIME (RFC 8551 §3.5) and PGP/MIME (RFC 3156).
_SIGNED = re.compile(rb"multipart/(?:signed|encrypted)|application/(?:x-)?pkcs7-mime", re.I)
# How a signed part begins within other content; PGP within a text has no type (RFC 9580 §6.2).
_MARKS = (b"multipart/signed", b"-----BEGIN PGP ")
_MARK = max(map(len, _MARKS))


def is_signed(header: bytes) -> bool:
    """Whether a header says that the content is signed; one that was cut may say so."""
    return (
        len(header) >= HEADER_LIMIT
        or any(count_fields(header, name) for name in _SIGNATURES)
        or _SIGNED.search(header) is not None
    )


def has_long_line(content: bytes) -> bool:
    """Whether whole content has a line that is too long."""
    return _short_until(content, 0) is not None


class LineFolder:
    """Folds the long lines of one message that is not signed as a whole."""

    __slots__ = ("_length", "_passing", "_tail")

    def __init__(self) -> None:
        self._length = 0  # octets of the line so far
        self._tail = b""  # the last octets, in case a mark is cut in two
        self._passing = False  # behind the beginning of a signed part

    def feed(self, chunk: bytes) -> bytes:
        """Return the next chunk with its long lines folded."""
        self._passing = self._passing or self._is_marked(chunk)
        if self._passing:
            return chunk
        long_from = _short_until(chunk, self._length)
        if long_from is None:
            self._count(chunk)
            return chunk
        if long_from > 0:
            self._length = 0
        return chunk[:long_from] + b"".join(map(self._folded, _lines(chunk[long_from:])))

    def _is_marked(self, chunk: bytes) -> bool:
        seam = self._tail + chunk[:_MARK]
        self._tail = chunk[-_MARK:] if len(chunk) >= _MARK else seam[-_MARK:]
        return any(mark in seam or mark in chunk for mark in _MARKS)

    def _count(self, octets: bytes) -> None:
        begin = octets.rfind(b"\n") + 1
        self._length = len(octets) - begin + (0 if begin else self._length)

    def _folded(self, line: bytes) -> bytes:
        """Return one line, or the part of it that is in a chunk."""
        parts = []
        while self._length + len(line.rstrip(b"\r\n")) > LONGEST:
            cut = _cut(line, LONGEST - self._length)
            parts += [line[:cut], b"\r\n" if line[cut : cut + 1] == b" " else b"\r\n "]
            self._length = len(parts[-1]) - 2
            line = line[cut:]
        self._count(line)
        return b"".join([*parts, line])


def _short_until(content: bytes, length: int) -> int | None:
    """Return where a line that is too long begins, None without one; `length` was before."""
    begin, end = -length, len(content)
    while end - begin > LONGEST:
        newline = content.rfind(b"\n", max(begin, 0), begin + LONGEST + 2)
        if newline < 0:
            rest = content[max(begin, 0) : begin + LONGEST + 1]
            return None if end - begin == LONGEST + 1 and rest.endswith(b"\r") else max(begin, 0)
        begin = newline + 1
    return None


def _lines(octets: bytes) -> list[bytes]:
    return [line + b"\n" for line in octets.split(b"\n")[:-1]] + [octets.rpartition(b"\n")[2]]


def _cut(line: bytes, most: int) -> int:
    """Return where to break a line: before a blank, else where no character is cut in two."""
    blank = line.rfind(b" ", max(most - _NEAR, 1), most + 1)
    if blank > 0:
        return blank
    cut = most
    while cut > max(most - 3, 0) and line[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut
