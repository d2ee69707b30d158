"""
Enhanced mail system status codes (RFC 3463, registry RFC 5248): `class.subject.detail`.

A code is a value of its own type, so that no unparsed text can get into a header as a code. The
constants below are the codes that Postroad itself uses for outcomes.
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
        """Return the code at the beginning of a reply's text, None without one (RFC 2034 §4)."""
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
