"""
What an answer means for each recipient, and for whom else: Delivered, Deferred or Bounced. No I/O.

Unknown means temporary: permanent is only what a peer said is permanent about the mail. What a peer
says about itself (greeting, EHLO, TLS, login) is about the host, so the next host may be tried and
nobody's mail is bounced for it.
"""

from dataclasses import dataclass
from enum import StrEnum

from postroad.mail.status import EnhancedStatus
from postroad.smtp.reply import Reply


class Kind(StrEnum):
    """How an attempt ended for a recipient."""

    DELIVERED = "Delivered"
    DEFERRED = "Deferred"
    BOUNCED = "Bounced"


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    The end of one attempt for one recipient. `text` is the reply, or a sentence of ours.

    `answered`: `host` said it, so a report may say so.
    """

    kind: Kind
    status: EnhancedStatus
    text: str
    host: str = ""
    answered: bool = False
    ambiguous: bool = False
    tls: str = ""


_CLASSES = {Kind.DELIVERED: 2, Kind.DEFERRED: 4, Kind.BOUNCED: 5}


def of_reply(reply: Reply | None, *, host: str, tls: str = "", answered: bool = True) -> Outcome:
    """Decide by the reply that is about the recipient; none at all is a deferral."""
    if reply is None:
        return deferred("the transaction was given up", host=host)
    kind = _kind(reply)
    return Outcome(kind, _status(reply, kind), str(reply), host, answered=answered, tls=tls)


def _kind(reply: Reply) -> Kind:
    if reply.is_positive:
        return Kind.DELIVERED
    return Kind.BOUNCED if reply.is_permanent else Kind.DEFERRED


def _status(reply: Reply, kind: Kind) -> EnhancedStatus:
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
        Kind.DEFERRED, status or EnhancedStatus(4, 4, 1), reason, host, ambiguous=ambiguous
    )


def bounced(reason: str, status: EnhancedStatus) -> Outcome:
    """Return a bounce for a reason of our own."""
    return Outcome(Kind.BOUNCED, status, reason)
