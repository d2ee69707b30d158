"""
Transparency of outgoing content (RFC 5321 §4.5.2), a chunk at a time.

A line that begins with a dot gets another; the content ends with CRLF and the final dot. Chunks may
be cut anywhere: what counts is whether the last octets were the end of a line.
"""


class DotStuffer:
    """Stuffs one message's content."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"  # the last two octets; content begins at a line's beginning

    def feed(self, chunk: bytes) -> bytes:
        """Return a chunk with its dots doubled."""
        if not chunk:
            return b""
        starts_line = self._tail == b"\r\n"
        split_end = self._tail.endswith(b"\r") and chunk.startswith(b"\n.")
        self._tail = (self._tail + chunk[-2:])[-2:]
        stuffed = chunk.replace(b"\r\n.", b"\r\n..")
        if starts_line and chunk.startswith(b"."):
            return b"." + stuffed
        return b"\n." + stuffed[1:] if split_end else stuffed

    def finish(self) -> bytes:
        """Return the end of the content: the missing CRLF, if it is, and the final dot."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"
