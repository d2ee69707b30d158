"""
Reads the header of a message as octets: where it ends, and which fields it has.

Field names match in any case of letters, and with blanks before the colon, which RFC 5322 §4.5
allows in old mail. A header may be of any length. HeaderReader reads all of it, piece by piece, in
a bounded amount of memory.
"""

import re
from collections.abc import Collection

HEADER_LIMIT = 64 * 1024  # octets that are kept of a header, for reports

_FIELD = re.compile(rb"[\x21-\x39\x3b-\x7e]+[ \t]*:")
_COLON = re.compile(rb"[ \t]*:")
# A file may begin with these before the message's header. Neither is part of the message.
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MAILBOX_LINE = re.compile(rb">*From [ \t]*[^ \t:]")  # of mbox (RFC 4155), not a field From
_MARKS = (_BYTE_ORDER_MARK, b"From ", b">")
_LONG_LINE = 4096  # octets of one line after which it is passed on in parts


def begins_with_field(content: bytes) -> bool:
    """Whether content begins with a header field, and so has a header."""
    return _FIELD.match(content) is not None


def from_file(content: bytes) -> bytes:
    """
    Return content that a program read from a file, in a form that begins with its header.

    A byte order mark is removed. The line `From ...` of an mbox file becomes a field
    `X-Mailbox-Line`, as in Postfix. Content that has no header after either stays as it is.
    """
    marked = content.removeprefix(_BYTE_ORDER_MARK)
    if _MAILBOX_LINE.match(marked):
        _, end, rest = marked.partition(b"\r\n")
        if end and (begins_with_field(rest) or rest.startswith(b"\r\n")):
            return b"X-Mailbox-Line: " + marked
    return marked if begins_with_field(marked) else content


def header_block(content: bytes) -> bytes:
    """
    Return a message's header fields with their line ends, without the empty line after them.

    Content that does not begin with a field is all body. At most HEADER_LIMIT octets are returned.
    """
    if not begins_with_field(content):
        return b""
    end = content.find(b"\r\n\r\n", 0, HEADER_LIMIT)
    return content[: end + 2 if end >= 0 else HEADER_LIMIT]


def count_fields(header: bytes, name: bytes) -> int:
    """Return how many fields with this name (in lower case) a header block has."""
    return _count(b"\n" + header.lower(), name)


def _count(lowered: bytes, name: bytes) -> int:
    needle = b"\n" + name
    found, at = 0, lowered.find(needle)
    while at >= 0:
        at += len(needle)
        found += _COLON.match(lowered, at) is not None
        at = lowered.find(needle, at)
    return found


class HeaderReader:
    """
    Reads the header of content that comes in pieces, and removes some of its fields.

    `block` has the first HEADER_LIMIT octets of the header. `needs_separator` says that the content
    begins with no header: an empty line must follow any field that is put in front of it.
    """

    __slots__ = (
        "_asked",
        "_begun",
        "_by_line",
        "_done",
        "_dropped",
        "_dropping",
        "_in_line",
        "_mends",
        "_seen",
        "_tail",
        "block",
        "needs_separator",
    )

    def __init__(
        self, *, asked: Collection[bytes], dropped: Collection[bytes], mends: bool = False
    ) -> None:
        """
        `asked` are the field names to look for, `dropped` those to remove, all in lower case.

        `mends` says whether to treat the first piece as `from_file` does.
        """
        self.block = b""
        self.needs_separator = False
        self._asked = asked
        self._dropped = dropped
        self._mends = mends
        self._seen: set[bytes] = set()
        self._done = False  # the end of the header was seen
        self._by_line = False  # the header came in several pieces, or has a field to remove
        self._begun = False  # some octets were returned
        self._tail = b""  # the beginning of a line whose end has not come
        self._in_line = False  # the first part of a long line was returned
        self._dropping = False  # in a field that is removed

    def has(self, name: bytes) -> bool:
        """Whether the header has a field that was asked for."""
        return name in self._seen

    def feed(self, piece: bytes) -> bytes:
        """Take the next piece of content; return what is ready of it, without removed fields."""
        if self._done:
            return piece
        if not self._by_line:
            if self._mends and piece.startswith(_MARKS):
                piece = from_file(piece)
            if self._read_whole(piece):
                return piece
        self._by_line = True
        header, body = self._read_lines(self._tail + piece)
        self.block += header[: HEADER_LIMIT - len(self.block)]
        passed = header + body
        if passed and not self._begun:
            self._begin(passed)
        return passed

    def _read_whole(self, piece: bytes) -> bool:
        """Read the header if the first piece has all of it and nothing to remove; return if so."""
        if not begins_with_field(piece):
            self._begin(piece)
            self._done = True
            return True
        end = piece.find(b"\r\n\r\n") + 2
        if end == 1:
            return False
        if self._asked or self._dropped:
            lowered = b"\n" + piece[:end].lower()
            if any(_count(lowered, name) for name in self._dropped):
                return False
            self._seen = {name for name in self._asked if _count(lowered, name)}
        self.block = piece[: min(end, HEADER_LIMIT)]
        self._done = True
        return True

    def _begin(self, passed: bytes) -> None:
        self._begun = True
        self.needs_separator = bool(passed) and not (
            passed.startswith(b"\r\n") or begins_with_field(passed)
        )

    def _read_lines(self, octets: bytes) -> tuple[bytes, bytes]:
        """Return the header lines to keep, and what follows the header."""
        passed: list[bytes] = []
        at = 0
        while (end := octets.find(b"\r\n", at) + 2) > 1:
            if end == at + 2 and not self._in_line:
                self._done = True
                self._tail = b""
                return b"".join(passed), octets[at:]
            passed.append(self._part(octets[at:end]))
            self._in_line = False
            at = end
        self._tail = octets[at:]
        if len(self._tail) > _LONG_LINE:
            # A CR at the end may belong to the end of the line.
            part = self._tail.removesuffix(b"\r")
            passed.append(self._part(part))
            self._tail = self._tail[len(part) :]
            self._in_line = True
        return b"".join(passed), b""

    def _part(self, octets: bytes) -> bytes:
        """Return a line, or a part of one, unless its field is removed."""
        if not self._in_line and octets[:1] not in (b" ", b"\t"):
            name = octets.partition(b":")[0].rstrip(b" \t").lower()
            self._dropping = name in self._dropped
            if name in self._asked:
                self._seen.add(name)
        return b"" if self._dropping else octets

    def end(self) -> bytes:
        """End the content; return the octets that were kept back."""
        self._done = True
        tail, self._tail = self._tail, b""
        return b"" if self._dropping else tail
