"""
The outcome of an attempt for one recipient: Delivered, Deferred or Bounced. No I/O.

An unknown result counts as temporary. A failure is permanent only if a peer says so about the mail.
A reply to greeting, EHLO, TLS or login is about the host, so the next host may be tried, and no
mail bounces for it.

The text of a reply is cut, because it is stored for each recipient and written again at each
attempt.
"""

from dataclasses import replace
from enum import StrEnum

from postroad.mail.status import EnhancedStatus
from postroad.mail.valueclass import valueclass
from postroad.smtp.client import Phase
from postroad.smtp.reply import Reply

MOST_TEXT = 512  # octets of a text, the size of a reply line in RFC 5321 §4.5.3.1.5
_ALL_TEXTS = 128 * 1024  # octets of all texts of a record
_CUT = " ..."


class OutcomeKind(StrEnum):
    """How an attempt ended for a recipient."""

    DELIVERED = "Delivered"
    DEFERRED = "Deferred"
    BOUNCED = "Bounced"


@valueclass(frozen=True, slots=True)
class Outcome:
    """
    The outcome for one recipient. `text` is the reply, or a sentence of ours, cut.

    `answered` says that the text is a reply of `host`, which a report may quote; `phase` is the
    step that it answers.
    """

    kind: OutcomeKind
    status: EnhancedStatus
    text: str
    host: str = ""
    answered: bool = False
    ambiguous: bool = False
    tls: str = ""
    phase: str = ""

    def put_off(self) -> "Outcome":
        """Return the outcome as a deferral, for a reply that is not about the mail."""
        return replace(self, kind=OutcomeKind.DEFERRED, status=self.status.with_class(4))


_CLASSES = {OutcomeKind.DELIVERED: 2, OutcomeKind.DEFERRED: 4, OutcomeKind.BOUNCED: 5}


def of_reply(
    reply: Reply,
    phase: Phase | None = None,
    *,
    host: str,
    tls: str = "",
    answered: bool = True,
    kind: OutcomeKind | None = None,
) -> Outcome:
    """Return the outcome of a reply for a recipient; `kind` overrides the reply's code."""
    kind = kind or _kind(reply)
    status, said_to = _status(reply, kind), str(phase or "")
    return Outcome(kind, status, cut(str(reply)), host, answered=answered, tls=tls, phase=said_to)


def cut(text: str, most: int = MOST_TEXT) -> str:
    """Return a text of at most `most` octets; it ends in dots if it was cut."""
    if len(text) * 4 <= most:
        return text
    octets = text.encode("utf-8", "replace")
    if len(octets) <= most:
        return text
    return octets[: most - len(_CUT)].decode("utf-8", "ignore") + _CUT


def most_text(recipients: int) -> int:
    """Return how many octets of text to keep for each recipient, so that a record stays small."""
    return min(MOST_TEXT, _ALL_TEXTS // recipients)


def _kind(reply: Reply) -> OutcomeKind:
    if reply.is_positive:
        return OutcomeKind.DELIVERED
    return OutcomeKind.BOUNCED if reply.is_permanent else OutcomeKind.DEFERRED


def _status(reply: Reply, kind: OutcomeKind) -> EnhancedStatus:
    # If the class of the status contradicts the code, the code decides.
    klass = _CLASSES[kind]
    if reply.status is None:
        return EnhancedStatus(klass, 0, 0)
    return reply.status.with_class(klass)


def deferred(
    reason: str, *, status: EnhancedStatus | None = None, host: str = "", ambiguous: bool = False
) -> Outcome:
    """Return a deferral for a reason of our own."""
    return Outcome(
        OutcomeKind.DEFERRED,
        status or EnhancedStatus(4, 4, 1),
        cut(reason),
        host,
        ambiguous=ambiguous,
    )


def bounced(reason: str, status: EnhancedStatus) -> Outcome:
    """Return a bounce for a reason of our own."""
    return Outcome(OutcomeKind.BOUNCED, status, cut(reason))
