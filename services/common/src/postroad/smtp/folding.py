"""
Folds lines of outgoing content over 998 octets (RFC 5322 §2.1.1), which strict hosts refuse.

A longer line is broken by CRLF and a space, as Postfix does. If the line has a space near the
limit, it is broken there, which folds a header field without changing it. Signed content stays as
it is, since any change would break the signature. So does everything after the beginning of a
signed part.

Content comes in chunks of any size. No UTF-8 character is cut in two, not even at the end of a
chunk. One regular expression finds chunks whose lines are all short, which most are.
"""

import re

from postroad.mail.header import HEADER_LIMIT, count_fields

LONGEST = 998  # octets without CRLF

_NEAR = 100  # octets before the limit in which a blank is looked for
_NEAR_END = LONGEST - 2  # octets of a line after which a character of four octets may not fit
_SIGNATURES = (b"dkim-signature", b"arc-message-signature", b"arc-seal", b"domainkey-signature")
# S/MIME (RFC 8551 §3.5) and PGP/MIME (RFC 3156).
_SIGNED = re.compile(rb"multipart/(?:signed|encrypted)|application/(?:x-)?pkcs7-mime", re.I)
# How a signed part within other content begins, in lower case: media types have no case (RFC 2045
# §5.1). Inline PGP has no content type (RFC 9580 §6.2).
_MARKS = (b"multipart/signed", b"multipart/encrypted", b"pkcs7-mime", b"-----begin pgp ")
_MARK = max(map(len, _MARKS))
# Matches short lines: each step goes to the last line end within reach, and the next starts there.
# The quantifiers never backtrack: 2 to 8 µs for 100 KiB of common mail.
_SHORT_LINES = re.compile(rb"(?s:(?>.{0,%d}\n)*+)" % (LONGEST + 1))
# An incomplete UTF-8 character at the end of a chunk.
_CUT_CHARACTER = re.compile(rb"(?:[\xc2-\xf4]|[\xe0-\xf4][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{2})\Z")


def is_signed(header: bytes) -> bool:
    """Whether a header says that the content is signed; a header that was cut counts as signed."""
    return (
        len(header) >= HEADER_LIMIT
        or any(count_fields(header, name) for name in _SIGNATURES)
        or _SIGNED.search(header) is not None
    )


def has_long_line(content: bytes) -> bool:
    """Whether complete content has a line that is too long."""
    return _short_until(content, 0) is not None


class LineFolder:
    """Folds the long lines of one message that is not signed as a whole."""

    __slots__ = ("_cut_character", "_length", "_passing", "_tail")

    def __init__(self) -> None:
        self._length = 0  # octets of the line so far
        self._cut_character = b""  # an incomplete character that may have to go on the next line
        self._tail = b""  # the last octets, in case a mark is cut in two
        self._passing = False  # after the beginning of a signed part

    def feed(self, chunk: bytes) -> bytes:
        """Return the chunk with its long lines folded; an incomplete character is kept back."""
        self._passing = self._passing or self._is_marked(chunk)
        if self._cut_character:
            chunk, self._cut_character = self._cut_character + chunk, b""
        if self._passing:
            return chunk
        long_from = _short_until(chunk, self._length)
        if long_from is None:
            self._count(chunk)
        else:
            if long_from > 0:
                self._length = 0
            chunk = chunk[:long_from] + b"".join(map(self._folded, _lines(chunk[long_from:])))
        return chunk if self._length < _NEAR_END else self._without_cut_character(chunk)

    def end(self) -> bytes:
        """End the content; return the octets that were kept back."""
        return self._cut_character

    def _without_cut_character(self, chunk: bytes) -> bytes:
        """Keep back an incomplete character that would end after the limit."""
        found = _CUT_CHARACTER.search(chunk, max(len(chunk) - 3, 0))
        if found is None or self._length + _missing(found[0]) <= LONGEST:
            return chunk
        self._cut_character = found[0]
        self._length -= len(found[0])
        return chunk[: found.start()]

    def _is_marked(self, chunk: bytes) -> bool:
        seam, lowered = (self._tail + chunk[:_MARK]).lower(), chunk.lower()
        self._tail = chunk[-_MARK:] if len(chunk) >= _MARK else seam[-_MARK:]
        return any(mark in seam or mark in lowered for mark in _MARKS)

    def _count(self, octets: bytes) -> None:
        begin = octets.rfind(b"\n") + 1
        self._length = len(octets) - begin + (0 if begin else self._length)

    def _folded(self, line: bytes) -> bytes:
        """Return one line, or the part of it that is in a chunk."""
        parts = []
        while self._length + len(line.rstrip(b"\r\n")) > LONGEST:
            cut = _cut(line, max(LONGEST - self._length, 0))
            parts += [line[:cut], b"\r\n" if line[cut : cut + 1] == b" " else b"\r\n "]
            self._length = len(parts[-1]) - 2
            line = line[cut:]
        self._count(line)
        return b"".join([*parts, line])


def _short_until(content: bytes, length: int) -> int | None:
    """
    Return where a line that is too long begins, None without one.

    `length` counts the octets of the first line that came in earlier chunks.
    """
    begin, end = -length, len(content)
    if end - begin <= LONGEST:
        return None
    if length:
        newline = content.rfind(b"\n", 0, max(begin + LONGEST + 2, 0))
        begin = newline + 1 if newline >= 0 else begin
    if begin >= 0 and (lines := _SHORT_LINES.match(content, begin)) is not None:
        begin = lines.end()
    # A CR at the end may belong to the end of the line.
    if end - begin <= LONGEST or (end - begin == LONGEST + 1 and content.endswith(b"\r")):
        return None
    return max(begin, 0)


def _missing(beginning: bytes) -> int:
    """Return how many octets an incomplete UTF-8 character lacks."""
    first = beginning[0]
    return 1 + (first >= 0xE0) + (first >= 0xF0) + 1 - len(beginning)


def _lines(octets: bytes) -> list[bytes]:
    return [line + b"\n" for line in octets.split(b"\n")[:-1]] + [octets.rpartition(b"\n")[2]]


def _cut(line: bytes, most: int) -> int:
    """Return where to break a line: before a space, else where no character is cut in two."""
    blank = line.rfind(b" ", max(most - _NEAR, 1), most + 1)
    if blank > 0:
        return blank
    cut = most
    while cut > max(most - 3, 0) and line[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut
