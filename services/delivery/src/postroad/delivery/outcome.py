"""
What an answer means for each recipient, and for whom else: Delivered, Deferred or Bounced. No I/O.

Unknown means temporary: permanent is only what a peer said is permanent about the mail. What a peer
says about itself (greeting, EHLO, TLS, login) is about the host, so the next host may be tried and
nobody's mail is bounced for it.

Of what a peer said no more is kept than a person reads: it is stored for each recipient, and
written again at each try.
"""

from dataclasses import replace
from enum import StrEnum

from postroad.mail.status import EnhancedStatus
from postroad.mail.valueclass import valueclass
from postroad.smtp.client import Phase
from postroad.smtp.reply import Reply

MOST_TEXT = 512  # octets of a text; RFC 5321 §4.5.3.1.5 gives as much to a reply line
_ALL_TEXTS = 128 * 1024  # octets of a record's texts
_CUT = " ..."


class OutcomeKind(StrEnum):
    """How an attempt ended for a recipient."""

    DELIVERED = "Delivered"
    DEFERRED = "Deferred"
    BOUNCED = "Bounced"


@valueclass(frozen=True, slots=True)
class Outcome:
    """
    The end of one attempt for one recipient. `text` is the reply, or a sentence of ours, cut.

    `answered`: `host` said it, so a report may say so; `phase` is to what.
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
        """Return it as a deferral: what was said does not count for the mail."""
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
    """Return what a reply means for a recipient: what its code says, but for a `kind` given."""
    kind = kind or _kind(reply)
    status, said_to = _status(reply, kind), str(phase or "")
    return Outcome(kind, status, cut(str(reply)), host, answered=answered, tls=tls, phase=said_to)


def cut(text: str, most: int = MOST_TEXT) -> str:
    """Return a text with no more than `most` octets; dots stand for what is left out."""
    if len(text) * 4 <= most:
        return text
    octets = text.encode("utf-8", "replace")
    if len(octets) <= most:
        return text
    return octets[: most - len(_CUT)].decode("utf-8", "ignore") + _CUT


def most_text(recipients: int) -> int:
    """Return how many octets are kept for each of a record's recipients, so that it stays small."""
    return min(MOST_TEXT, _ALL_TEXTS // recipients)


def _kind(reply: Reply) -> OutcomeKind:
    if reply.is_positive:
        return OutcomeKind.DELIVERED
    return OutcomeKind.BOUNCED if reply.is_permanent else OutcomeKind.DEFERRED


def _status(reply: Reply, kind: OutcomeKind) -> EnhancedStatus:
    # A status whose class contradicts the code is the server's slip: the code decides.
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
