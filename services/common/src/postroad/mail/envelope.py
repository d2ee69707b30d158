"""
The values of a client's ESMTP parameters that are stored with a message.

BODY is of RFC 6152; RET and NOTIFY are of RFC 3461, and ingress does not offer them yet. A value
says what the client asked for. Delivery finds out whether the next hop supports it.
"""

from enum import Flag, StrEnum, auto


class Body(StrEnum):
    """Which octets the content may have (RFC 6152)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT = "8BITMIME"


class Ret(StrEnum):
    """How much of a message a failure report returns (RFC 3461 §4.3)."""

    FULL = "FULL"
    HEADERS = "HDRS"


class Notify(Flag):
    """When the sender wants a report about a recipient (RFC 3461 §4.1)."""

    NEVER = 0
    SUCCESS = auto()
    FAILURE = auto()
    DELAY = auto()

    @classmethod
    def default(cls) -> "Notify":
        """Return failures and delays; without NOTIFY the choice is the MTA's (RFC 3461 §4.1)."""
        return cls.FAILURE | cls.DELAY


DEFAULT_NOTIFY = Notify.default()
