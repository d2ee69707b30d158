"""
Dot-stuffing of outgoing content (RFC 5321 §4.5.2), a chunk at a time.

A line that begins with a dot gets another one, and the content ends with CRLF and the final dot. A
chunk may begin and end anywhere: the stuffer remembers the last two octets before it.
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
        """Return the end of the content: a CRLF if it is missing, and the final dot."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"
