"""
What one transaction decided, and what it left open, for each of its recipients. No I/O.

A recipient whose reply decides nothing about the mail stays open: for the next transaction of the
session, for another session with the same address, or for another address. Each open one has the
outcome that stands if nothing better comes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from postroad.delivery.outcome import Outcome, OutcomeKind, deferred, of_reply
from postroad.mail.status import EnhancedStatus
from postroad.smtp.client import Phase
from postroad.smtp.reply import Reply
from postroad.smtp_client.dispositions import Answer, Protection, Step, answer_of, step
from postroad.smtp_client.peer import SessionLost
from postroad.smtp_client.transaction import TransactionReplies

LOST = EnhancedStatus(4, 4, 2)

_HERE = (Step.PLAINLY, Step.IN_CLEAR, Step.ANEW)


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """The session that a transaction was in."""

    host: str
    tls: str
    protection: Protection
    pipelined: bool


@dataclass(slots=True)
class Verdict:
    """Recipients by position in the record. What is `open` has a step and what else stands."""

    decided: dict[int, Outcome] = field(default_factory=dict)
    open: dict[int, tuple[Step, Outcome]] = field(default_factory=dict)

    def add(self, other: "Verdict") -> None:
        """Take down what a later transaction decided and left open."""
        for number in other.decided:
            self.open.pop(number, None)
        self.decided |= other.decided
        self.open |= other.open

    def add_delivered(self, group: Sequence[int], outcome: Outcome) -> None:
        """Take down that a transaction ended the same for all of its recipients."""
        for number in group:
            self.decided[number] = outcome
            self.open.pop(number, None)

    def left_to(self, *steps: Step) -> list[int]:
        """Return the open recipients for whom one of these steps is next."""
        return [number for number, (next_step, _) in self.open.items() if next_step in steps]

    @property
    def is_lacking(self) -> bool:
        """Whether the host announces that it cannot take the mail, at whatever address."""
        return any(outcome.kind is OutcomeKind.BOUNCED for _, outcome in self.open.values())

    @property
    def left_here(self) -> list[int]:
        """The recipients that another session with the same address is tried for."""
        return self.left_to(*_HERE)

    @property
    def left_elsewhere(self) -> list[int]:
        """The recipients that another address is tried for."""
        return [number for number, (next_step, _) in self.open.items() if next_step not in _HERE]


def judge(
    group: Sequence[int],
    transaction: TransactionReplies,
    at: SessionFacts,
    lost: SessionLost | None,
) -> Verdict:
    """Return what follows from a transaction with a group of recipients, lost or answered."""
    verdict = Verdict()
    fell_out = _fell_out_of_step(lost, at)
    plainly = at.pipelined and (transaction.is_out_of_step or fell_out)
    for position, number in enumerate(group):
        phase, reply = transaction.decision_for(position)
        if reply is not None and reply.is_positive:
            verdict.decided[number] = of_reply(reply, phase, host=at.host, tls=at.tls)
        elif lost is not None and (reply is None or reply.is_intermediate):
            found = step(lost.phase, lost.answer, at.protection)
            _put(verdict, number, found, _of_loss(lost, transaction, at), plainly, at)
        elif reply is None:
            farewell = _of_farewell(transaction, at)
            _put(verdict, number, Step.NEXT_ADDRESS, farewell, plainly, at)
        else:
            found = _step_after(phase, reply, transaction, at)
            kind = OutcomeKind.BOUNCED if found is Step.BOUNCE else OutcomeKind.DEFERRED
            if transaction.unasked and found is Step.NEXT_HOST:
                kind = OutcomeKind.BOUNCED  # unless another host has something better to say
            answered = not transaction.unasked
            outcome = of_reply(reply, phase, host=at.host, tls=at.tls, answered=answered, kind=kind)
            if fell_out and found is Step.BOUNCE:  # who knows whose answer that was
                found, outcome = Step.NEXT_ADDRESS, outcome.put_off()
            if found is Step.LATER:  # nobody knows whether it was taken
                outcome = replace(outcome, ambiguous=True)
            _put(verdict, number, found, outcome, plainly, at)
    return verdict


def _put(
    verdict: Verdict, number: int, found: Step, outcome: Outcome, plainly: bool, at: SessionFacts
) -> None:
    if plainly:
        verdict.open[number] = (Step.PLAINLY, outcome.put_off())
    elif found in (Step.BOUNCE, Step.LATER):
        verdict.decided[number] = outcome
    elif found is Step.PLAINLY and not at.pipelined:
        verdict.open[number] = (Step.NEXT_ADDRESS, outcome)
    else:
        verdict.open[number] = (found, outcome)


def _step_after(
    phase: Phase, reply: Reply, transaction: TransactionReplies, at: SessionFacts
) -> Step:
    answer = Answer.LACKING if transaction.unasked else answer_of(phase, reply)
    found = step(phase, answer, at.protection)
    if found is Step.NEXT_TRANSACTION and not transaction.accepted:
        return Step.NEXT_HOST
    return found


def _fell_out_of_step(lost: SessionLost | None, at: SessionFacts) -> bool:
    return lost is not None and step(lost.phase, lost.answer, at.protection) is Step.PLAINLY


def _of_loss(lost: SessionLost, transaction: TransactionReplies, at: SessionFacts) -> Outcome:
    if transaction.farewell is not None and not lost.ambiguous:
        return _of_farewell(transaction, at)
    return deferred(str(lost), status=LOST, host=at.host, ambiguous=lost.ambiguous)


def _of_farewell(transaction: TransactionReplies, at: SessionFacts) -> Outcome:
    reply = transaction.farewell
    if reply is None:
        return deferred("the transaction was given up", status=LOST, host=at.host)
    return of_reply(reply, host=at.host)
