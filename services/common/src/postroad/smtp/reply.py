"""
SMTP replies as values (RFC 5321 §4.2) with their enhanced status (RFC 2034).

A Reply is either our own reply as a server, or the reply of a next hop. `wire` escapes each text
and cuts it to one line, so that no peer's text can add a line.
"""

from dataclasses import dataclass
from functools import cached_property

from postroad.mail.status import EnhancedStatus
from postroad.mail.visible import visible

MAX_REPLY_LINE = 512  # octets with CRLF, RFC 5321 §4.5.3.1.5


@dataclass(frozen=True)
class Reply:
    """A reply: three digits, the enhanced status if there is one, and its text lines."""

    code: int
    status: EnhancedStatus | None
    lines: tuple[str, ...]

    @classmethod
    def of(cls, code: int, status: str | None, *lines: str) -> "Reply":
        """Build a reply of our own: `Reply.of(550, "5.7.1", "relay access denied")`."""
        return cls(code, EnhancedStatus.parse(status) if status else None, lines or ("",))

    @property
    def is_positive(self) -> bool:
        """Whether the code is 2yz: completed."""
        return 200 <= self.code < 300

    @property
    def is_intermediate(self) -> bool:
        """Whether the code is 3yz: more input is awaited."""
        return 300 <= self.code < 400

    @property
    def is_permanent(self) -> bool:
        """Whether the code is 5yz: a permanent failure."""
        return 500 <= self.code < 600

    @property
    def text(self) -> str:
        """The text lines as one."""
        return " ".join(self.lines)

    def __str__(self) -> str:
        status = f"{self.status} " if self.status else ""
        return f"{self.code} {status}{self.text}"

    @cached_property
    def wire(self) -> bytes:
        """The reply as octets, each line with its code and enhanced status (RFC 2034 §4)."""
        status = f"{self.status} " if self.status else ""
        room = MAX_REPLY_LINE - 6 - len(status)
        if len(self.lines) == 1:  # as nearly all have, each of an accepted message among them
            text = visible(self.lines[0])[:room]
            return f"{self.code} {status}{text}\r\n".encode("utf-8", "replace")
        last = len(self.lines) - 1
        out = []
        for number, line in enumerate(self.lines):
            text = visible(line)[:room]
            # The space stays even before an empty text: RFC 4954 §4 requires it after 334.
            out.append(f"{self.code}{' ' if number == last else '-'}{status}{text}")
        return ("\r\n".join(out) + "\r\n").encode("utf-8", "replace")
