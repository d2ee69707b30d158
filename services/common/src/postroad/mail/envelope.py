"""
What a client may ask for with the envelope: the ESMTP parameters that travel with a message.

The parameter names are those of RFC 3461 (RET, ENVID, NOTIFY, ORCPT), RFC 6152 (BODY), RFC 6531
(SMTPUTF8) and RFC 8689 (REQUIRETLS). A value here says what a client asked for; whether the next
hop can honour it is delivery's business.
"""

from enum import Flag, StrEnum, auto


class Body(StrEnum):
    """What the content is made of (RFC 6152, RFC 3030)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT = "8BITMIME"


class Ret(StrEnum):
    """How much of a message a failure report returns (RFC 3461 §4.3)."""

    FULL = "FULL"
    HEADERS = "HDRS"


class Notify(Flag):
    """When a recipient's sender wants a report (RFC 3461 §4.1); DEFAULT when not said."""

    NEVER = 0
    SUCCESS = auto()
    FAILURE = auto()
    DELAY = auto()

    @classmethod
    def default(cls) -> "Notify":
        """Failures and delays, as RFC 3461 §4.1 leaves it to the MTA."""
        return cls.FAILURE | cls.DELAY


DEFAULT_NOTIFY = Notify.default()
