"""
The two classes of mail: transactional and bulk. Bulk never delays transactional mail.

What is stored says `x` for transactional mail, from *express*.
"""

from enum import StrEnum


class TrafficClass(StrEnum):
    """A message's class; the value is its token in the queue's subjects."""

    TRANSACTIONAL = "x"
    BULK = "b"

    @property
    def word(self) -> str:
        """The class as users read it: transactional or bulk; in manifests with a capital."""
        return "bulk" if self is TrafficClass.BULK else "transactional"
