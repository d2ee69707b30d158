"""
Parses SMTP replies (RFC 5321 §4.2) from octets as they come, with bounds on their size.

It is as lenient as Postfix is by default, because strictness would cost mail. The code of a reply's
last line counts, and a line without a code is ignored. If several replies are due, such a line ends
the session, since the replies after it could be paired with the wrong commands. The reply to the
final dot counts once it begins with a positive code, even if it then exceeds the bounds: otherwise
the message would be sent twice.

Of a long reply only the first lines and the last are kept, because a transaction holds one reply
for each recipient. Of a line that is no reply only the beginning is quoted. What nobody may see is
taken out of it before: the beginning of a secret could not be found any more.
"""

import re
from collections.abc import Callable, Iterator
from enum import Enum, auto
from functools import lru_cache

from postroad.mail.status import EnhancedStatus
from postroad.smtp.errors import RemoteProtocolError
from postroad.smtp.reply import Reply

# RFC 5321 §4.5.3.1.5 says 512 octets; servers that explain themselves write more.
MAX_LINE = 4096
MAX_LINES = 128
_KEPT = MAX_LINE  # characters of a reply's lines before the last; an EHLO reply is shorter

_QUOTED = 80  # characters
_SHORT = 40  # characters: a longer reply often has a unique text, such as a queue id
_LINE = re.compile(r"([2-5]\d\d)(?:([ -])(.*))?", re.DOTALL)
_POSITIVE = re.compile(r"(2\d\d)(?!\d)(.*)", re.DOTALL)


class Due(Enum):
    """Which replies are due. It decides what happens to a line that is no reply."""

    SEVERAL = auto()  # several, or none: such a line ends the session
    ONE = auto()  # such a line is ignored
    FINAL_DOT = auto()  # it is ignored, but a line that begins with a positive code is the reply


class ReplyReader:
    """
    Takes octets and returns complete replies; `due` tells what to do with odd lines.

    `redacted` takes what nobody may see out of a line.
    """

    def __init__(
        self,
        due: Callable[[], Due] = lambda: Due.SEVERAL,
        redacted: Callable[[str], str] = str,
    ) -> None:
        self._due = due
        self._redacted = redacted
        self._passed_over = ""
        self._buffer = bytearray()
        self._lines: list[str] = []
        self._length = 0  # characters of these lines and of those left out
        self._left_out = 0  # lines that were not kept
        self._codes: set[int] = set()
        self._odd_lines = 0

    @property
    def passed_over(self) -> str:
        """The beginning of the last line that was no reply, since the last reply."""
        return self._redacted(self._passed_over)[:_QUOTED]

    def feed(self, data: bytes) -> Iterator[Reply]:
        """Yield the replies that are complete; RemoteProtocolError at a malformed one."""
        self._buffer += data
        try:
            while (end := self._buffer.find(b"\n")) >= 0:
                text = self._buffer[:end].rstrip(b"\r").decode("utf-8", "replace")
                del self._buffer[: end + 1]
                reply = self._line(text)
                if reply is not None:
                    yield reply
            self._check_rest()
        except RemoteProtocolError:
            taken = self._taken()
            if taken is not None:
                yield taken
            raise

    def _check_rest(self) -> None:
        if len(self._buffer) <= MAX_LINE:
            return
        positive = _POSITIVE.fullmatch(self._buffer[:MAX_LINE].decode("utf-8", "replace"))
        if positive is not None:
            self._codes.add(int(positive[1]))
            # The end of this line may be the beginning of what nobody may see.
            self._lines.append(self._redacted(positive[2])[:_QUOTED])
        raise RemoteProtocolError("a reply line does not end")

    def _taken(self) -> Reply | None:
        """Return what came of the reply to the final dot, if all its codes are positive."""
        if self._due() is not Due.FINAL_DOT or not self._codes or max(self._codes) >= 300:
            return None
        return _mixed_reply(max(self._codes), self._begin_anew())

    def clear(self) -> None:
        """Drop an incomplete reply: after STARTTLS nothing from before counts."""
        self._buffer.clear()
        self._begin_anew()

    def _begin_anew(self) -> list[str]:
        lines, self._lines = self._lines, []
        self._codes.clear()
        self._length = self._left_out = self._odd_lines = 0
        self._passed_over = ""
        return lines

    @property
    def empty(self) -> bool:
        """Whether no incomplete reply is buffered."""
        return not self._buffer and not self._lines

    def _line(self, text: str) -> Reply | None:
        if not self._lines and len(text) <= _SHORT and text[3:4] == " ":
            reply = _one_line(text)
            if reply is not None:
                if self._odd_lines:
                    self._begin_anew()
                return reply
        match = _LINE.fullmatch(text)
        if match is None or len(text) > MAX_LINE:
            return self._odd_line(text)
        code = int(match[1])
        self._codes.add(code)
        if match[2] == "-":
            self._keep(match[3])
            self._check_length()
            return None
        self._lines.append(match[3] or "")
        mixed = len(self._codes) > 1
        lines = self._begin_anew()
        return _mixed_reply(code, lines) if mixed else _reply(code, lines)

    def _keep(self, text: str) -> None:
        """Keep a line that is not the last, as long as there is room."""
        self._length += len(text)
        if self._length <= _KEPT:
            self._lines.append(text)
        else:
            self._left_out += 1

    def _odd_line(self, text: str) -> Reply | None:
        due = self._due()
        positive = _POSITIVE.fullmatch(text) if due is Due.FINAL_DOT else None
        if positive is not None:
            return _mixed_reply(int(positive[1]), [*self._begin_anew(), positive[2]])
        if due is Due.SEVERAL or len(text) > MAX_LINE or not _is_text(text):
            quoted = self._redacted(text)[:_QUOTED]
            raise RemoteProtocolError(f"not an SMTP reply: {quoted!r}")
        self._passed_over = text
        self._odd_lines += 1
        self._check_length()
        return None

    def _check_length(self) -> None:
        if len(self._lines) + self._left_out + self._odd_lines >= MAX_LINES:
            raise RemoteProtocolError("a reply has too many lines")


def _is_text(text: str) -> bool:
    return text.replace("\t", " ").isprintable()


@lru_cache(maxsize=1024)
def _one_line(text: str) -> Reply | None:
    """Return a reply of one line, None if it is none; cached, since most replies recur."""
    match = _LINE.fullmatch(text)
    return _reply(int(match[1]), [match[3] or ""]) if match is not None else None


def _reply(code: int, lines: list[str]) -> Reply:
    status = EnhancedStatus.leading(lines[0])
    if status is None:
        return Reply(code, None, tuple(lines))
    prefix = str(status)
    return Reply(code, status, tuple(text.removeprefix(prefix).lstrip() for text in lines))


def _mixed_reply(code: int, lines: list[str]) -> Reply:
    """Return a reply whose lines have different codes: the last line gives the status, too."""
    last = _reply(code, lines[-1:])
    return Reply(code, last.status, (*lines[:-1], *last.lines))
