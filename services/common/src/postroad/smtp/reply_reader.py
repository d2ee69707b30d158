"""Replies out of octets as they come (RFC 5321 §4.2), bounded against peers that never end."""

import re
from collections.abc import Iterator
from functools import lru_cache

from postroad.mail.status import EnhancedStatus
from postroad.smtp.errors import RemoteProtocolError
from postroad.smtp.reply import Reply

# RFC 5321 §4.5.3.1.5 says 512 octets; servers that explain themselves write more.
MAX_LINE = 4096
MAX_LINES = 128

_SHORT = 40  # characters: a longer reply says something of its own, such as a queue id
_LINE = re.compile(r"([2-5]\d\d)(?:([ -])(.*))?", re.DOTALL)


class ReplyReader:
    """Takes octets and gives whole replies."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lines: list[str] = []
        self._code = 0

    def feed(self, data: bytes) -> Iterator[Reply]:
        """Yield the replies that are complete; RemoteProtocolError where one is none."""
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            text = self._buffer[:end].rstrip(b"\r").decode("utf-8", "replace")
            del self._buffer[: end + 1]
            reply = self._line(text)
            if reply is not None:
                yield reply
        if len(self._buffer) > MAX_LINE:
            raise RemoteProtocolError("a reply line does not end")

    def clear(self) -> None:
        """Forget what is half read: after STARTTLS nothing of before counts."""
        self._buffer.clear()
        self._lines.clear()

    @property
    def empty(self) -> bool:
        """Whether nothing is half read."""
        return not self._buffer and not self._lines

    def _line(self, text: str) -> Reply | None:
        if not self._lines and len(text) <= _SHORT and text[3:4] == " ":
            return _one_line(text)
        match = _LINE.fullmatch(text)
        if match is None or len(text) > MAX_LINE:
            raise RemoteProtocolError(f"not an SMTP reply: {text[:80]!r}")
        code = int(match[1])
        if self._lines and code != self._code:
            raise RemoteProtocolError(f"a reply changes from {self._code} to {code}")
        self._code = code
        self._lines.append(match[3] or "")
        if match[2] == "-":
            if len(self._lines) >= MAX_LINES:
                raise RemoteProtocolError("a reply has too many lines")
            return None
        lines, self._lines = self._lines, []
        return _reply(code, lines)


@lru_cache(maxsize=1024)
def _one_line(text: str) -> Reply:
    """Return a reply of one line; servers say the same few for each message."""
    match = _LINE.fullmatch(text)
    if match is None:
        raise RemoteProtocolError(f"not an SMTP reply: {text!r}")
    return _reply(int(match[1]), [match[3] or ""])


def _reply(code: int, lines: list[str]) -> Reply:
    status = EnhancedStatus.leading(lines[0])
    if status is None:
        return Reply(code, None, tuple(lines))
    prefix = str(status)
    return Reply(code, status, tuple(text.removeprefix(prefix).lstrip() for text in lines))
