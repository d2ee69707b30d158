"""
Enhanced mail system status codes (RFC 3463, registry RFC 5248): `class.subject.detail`.

One value type, so that a code is never a loose string that could end in a header unparsed.
The names below are those this product says itself.
"""

import re
from typing import NamedTuple

from postroad.mail.errors import StatusSyntaxError

_PATTERN = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})")


class EnhancedStatus(NamedTuple):
    """One code; `klass` is 2 (success), 4 (persistent transient) or 5 (permanent)."""

    klass: int
    subject: int
    detail: int

    def __str__(self) -> str:
        return f"{self.klass}.{self.subject}.{self.detail}"

    @classmethod
    def parse(cls, text: str) -> "EnhancedStatus":
        """Read `4.4.1`; raise StatusSyntaxError for anything else."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise StatusSyntaxError(f"not an enhanced status code: {text!r}")
        return cls(int(match[1]), int(match[2]), int(match[3]))

    @classmethod
    def leading(cls, text: str) -> "EnhancedStatus | None":
        """Return the code a reply's text starts with, or None when there is none (RFC 2034 §4)."""
        match = _PATTERN.match(text)
        if match is None or text[match.end() : match.end() + 1] not in ("", " "):
            return None
        return cls(int(match[1]), int(match[2]), int(match[3]))

    def with_class(self, klass: int) -> "EnhancedStatus":
        """Return the same subject and detail in another class."""
        return self if klass == self.klass else EnhancedStatus(klass, self.subject, self.detail)


SUCCESS = EnhancedStatus(2, 0, 0)
DELIVERY_NOT_AUTHORIZED = EnhancedStatus(5, 7, 1)
MISCONFIGURED = EnhancedStatus(4, 3, 5)
DELIVERY_EXPIRED = EnhancedStatus(4, 4, 7)
UNDEFINED_PERMANENT = EnhancedStatus(5, 0, 0)
