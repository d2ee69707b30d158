"""
SMTP replies as values (RFC 5321 §4.2) with their enhanced status (RFC 2034).

A server's decision is a Reply; so is what a next hop answered. Text is restricted to one line's
worth of printable characters when it is formatted, so that nothing a peer sent can add a line.
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
        """Build one of ours: `Reply.of(550, "5.7.1", "relay access denied")`."""
        return cls(code, EnhancedStatus.parse(status) if status else None, lines or ("",))

    @property
    def is_positive(self) -> bool:
        """2yz: done."""
        return 200 <= self.code < 300

    @property
    def is_intermediate(self) -> bool:
        """3yz: go on."""
        return 300 <= self.code < 400

    @property
    def is_permanent(self) -> bool:
        """5yz: never this way."""
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
        last = len(self.lines) - 1
        room = MAX_REPLY_LINE - 6 - len(status)
        out = []
        for number, line in enumerate(self.lines):
            text = visible(line)[:room]
            # The space stays though nothing follows: RFC 4954 §4 wants it behind 334.
            out.append(f"{self.code}{' ' if number == last else '-'}{status}{text}")
        return ("\r\n".join(out) + "\r\n").encode("utf-8", "replace")
