"""
Decides what is tried next after a failure: one table by phase, reply and TLS. No I/O.

A problem of a host or a session says nothing about the mail: another address, another host, another
session or a later try may work. Mail bounces only for a reply about the mail itself, in a session
without problems. `docs/dispositions.md` has the same table for people, and a test compares the two.
"""

from dataclasses import dataclass
from enum import StrEnum

from postroad.smtp.client import Phase
from postroad.smtp.reply import Reply


class Answer(StrEnum):
    """What a peer replied, or did, in the phase that failed."""

    ODD = "odd"  # 2yz or 3yz that makes no sense here
    CLOSING = "421"
    TOO_MANY = "too many"  # recipients, RFC 5321 §4.5.3.1.10
    TEMPORARY = "4yz"
    MISPLACED = "misplaced"  # the reply fits another command: the two sides are out of step
    WANTS_TLS = "wants TLS"  # RFC 3207 §4
    REFUSED = "5yz"
    FINAL = "5yz of the mail"  # of the address, the mailbox, the content or its size
    LACKING = "lacking"  # it announces less than the message needs: SMTPUTF8, SIZE
    GARBLED = "garbled"
    CLOSED = "closed"
    SILENT = "silent"
    TLS_FAULT = "TLS fault"


class Protection(StrEnum):
    """The state of TLS in a session."""

    CLEAR = "clear"  # no TLS: it was not wanted, or not offered
    FAILED = "failed"  # no TLS, because it did not work
    OPPORTUNISTIC = "opportunistic"  # begun, and not required
    REQUIRED = "required"
    VERIFIED = "verified"


class Step(StrEnum):
    """What is tried next."""

    HELO = "HELO"
    IN_CLEAR = "in clear"  # the same address, in a new session without TLS
    PLAINLY = "plainly"  # the same address without pipelining; if it was so already, next address
    ANEW = "anew"  # the same address in a new session, because this one was used before
    NEXT_TRANSACTION = "next transaction"  # of this session; if nobody was accepted, next host
    NEXT_ADDRESS = "next address"
    NEXT_HOST = "next host"
    LATER = "later"
    BOUNCE = "bounce"


_LOST = frozenset({Answer.GARBLED, Answer.CLOSED, Answer.SILENT, Answer.TLS_FAULT})
_DOUBTFUL = _LOST | {Answer.ODD}
_REFUSALS = frozenset({Answer.REFUSED, Answer.FINAL})
_NO_EHLO = _REFUSALS | {Answer.MISPLACED, Answer.WANTS_TLS, Answer.ODD}
_INTRODUCTION = frozenset({Phase.EHLO, Phase.HELO})
_TLS = frozenset({Phase.STARTTLS, Phase.HANDSHAKE})
ENVELOPE = frozenset({Phase.MAIL, Phase.RCPT, Phase.DATA})
# Replies that fit another command.
ASTRAY = frozenset({Answer.ODD, Answer.MISPLACED})


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table; None means any."""

    phases: frozenset[Phase] | None
    answers: frozenset[Answer] | None
    protection: Protection | None
    step: Step

    def holds(self, phase: Phase, answer: Answer, protection: Protection) -> bool:
        """Whether the line matches a case."""
        return (
            (self.phases is None or phase in self.phases)
            and (self.answers is None or answer in self.answers)
            and (self.protection is None or protection is self.protection)
        )


def _of(*members: Phase) -> frozenset[Phase]:
    return frozenset(members)


# The first line that matches a case decides.
RULES = (
    Rule(_of(Phase.CONNECT, Phase.GREETING, Phase.AUTH), None, None, Step.NEXT_ADDRESS),
    Rule(_TLS, None, Protection.OPPORTUNISTIC, Step.IN_CLEAR),
    Rule(_TLS, None, None, Step.NEXT_ADDRESS),
    Rule(_INTRODUCTION, _LOST, Protection.OPPORTUNISTIC, Step.IN_CLEAR),
    Rule(_of(Phase.EHLO), _NO_EHLO, None, Step.HELO),
    Rule(_INTRODUCTION, None, None, Step.NEXT_ADDRESS),
    Rule(_of(Phase.FINAL_DOT), _DOUBTFUL, None, Step.LATER),
    Rule(None, frozenset({Answer.TLS_FAULT}), Protection.OPPORTUNISTIC, Step.IN_CLEAR),
    Rule(_of(Phase.RCPT), frozenset({Answer.TOO_MANY}), None, Step.NEXT_TRANSACTION),
    Rule(ENVELOPE, ASTRAY | {Answer.GARBLED}, None, Step.PLAINLY),
    Rule(_of(Phase.FINAL_DOT), frozenset({Answer.MISPLACED}), None, Step.PLAINLY),
    Rule(_of(Phase.RCPT, Phase.DATA), frozenset({Answer.SILENT}), None, Step.PLAINLY),
    # Without TLS a server may announce fewer extensions.
    Rule(_of(Phase.MAIL), frozenset({Answer.LACKING}), Protection.FAILED, Step.NEXT_ADDRESS),
    Rule(_of(Phase.MAIL), frozenset({Answer.LACKING}), None, Step.NEXT_HOST),
    Rule(None, frozenset({Answer.TEMPORARY, Answer.TOO_MANY}), None, Step.NEXT_HOST),
    Rule(None, frozenset({Answer.REFUSED}), Protection.FAILED, Step.NEXT_ADDRESS),
    Rule(None, _REFUSALS, None, Step.BOUNCE),
    Rule(None, None, None, Step.NEXT_ADDRESS),
)


def step(phase: Phase, answer: Answer, protection: Protection) -> Step:
    """Return what to try next after an answer in a phase of a session."""
    return next(rule.step for rule in RULES if rule.holds(phase, answer, protection))


def answer_of(phase: Phase, reply: Reply) -> Answer:
    """Classify a reply that is not the expected one."""
    code = reply.code
    if code == 421:
        return Answer.CLOSING
    if code < 400:
        return Answer.ODD
    if phase is Phase.RCPT and _is_too_many(reply):
        return Answer.TOO_MANY
    if code < 500 or (phase is Phase.RCPT and code == 552 and not _says_mailbox(reply)):
        return Answer.TEMPORARY
    return _of_refusal(phase, reply)


def _is_too_many(reply: Reply) -> bool:
    if reply.status is None:
        # RFC 5321 §4.5.3.1.10: some servers reply 552 instead of 452.
        return reply.code in (452, 552)
    return reply.status[1:] == (5, 3)


def _says_mailbox(reply: Reply) -> bool:
    return reply.status is not None and reply.status.subject == 2


def _of_refusal(phase: Phase, reply: Reply) -> Answer:
    code = reply.code
    subject, detail = reply.status[1:] if reply.status is not None else (0, 0)
    # RFC 3463 §3: about the address, the mailbox, the content; 3.4 is about the size.
    if subject in (1, 2, 6) or (subject, detail) == (3, 4):
        return Answer.FINAL
    # After the final dot 500 may be about a line of the content.
    misplaced = (500, 502, 503) if phase in ENVELOPE else (503,)
    if code in misplaced or (subject, detail) == (5, 1):
        return Answer.MISPLACED
    if code == 530 and "STARTTLS" in reply.text.upper():
        return Answer.WANTS_TLS
    return Answer.REFUSED
