"""One transaction as values: what is sent, and what was answered to each part of it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from postroad.mail.address import Mailbox
from postroad.mail.valueclass import valueclass
from postroad.smtp.client import Phase
from postroad.smtp.reply import Reply
from postroad.smtp_client.dispositions import ASTRAY, Answer, answer_of


@valueclass(frozen=True, slots=True)
class Outgoing:
    """What one transaction sends. `size` is in octets, before dot-stuffing."""

    mail: Mailbox | None
    recipients: tuple[Mailbox, ...]
    content: bytes | AsyncIterator[bytes]
    size: int
    eight_bit: bool = False
    smtputf8: bool = False
    mail_parameters: tuple[str, ...] = ()


@dataclass(slots=True)
class TransactionReplies:
    """
    What was answered: to MAIL, to each RCPT, to DATA, and to the final dot.

    `unasked`: the peer was not asked at all, `mail` is a refusal of ours. `accepted`: how many
    recipients the peer took, whatever came then.
    """

    mail: Reply | None = None
    recipients: list[Reply | None] = field(default_factory=list)
    data: Reply | None = None
    final: Reply | None = None
    unasked: bool = False
    accepted: int = 0

    def hear_recipient(self, number: int, reply: Reply) -> None:
        """Take down the answer to an RCPT."""
        self.recipients[number] = reply
        if reply.is_positive:
            self.accepted += 1

    def decision_for(self, number: int) -> tuple[Phase, Reply | None]:
        """Return the reply that decides about one recipient, and the phase that it is of."""
        if self.mail is None or not self.mail.is_positive:
            return Phase.MAIL, self.mail
        rcpt = self.recipients[number]
        if rcpt is None or not rcpt.is_positive:
            return Phase.RCPT, rcpt
        return (Phase.FINAL_DOT, self.final) if self.final else (Phase.DATA, self.data)

    @property
    def is_begun(self) -> bool:
        """Whether the peer took MAIL."""
        return self.mail is not None and self.mail.is_positive

    @property
    def is_delivered(self) -> bool:
        """Whether the peer took the message for every recipient, as it nearly always does."""
        is_taken = self.final is not None and self.final.is_positive
        return is_taken and self.accepted == len(self.recipients)

    @property
    def farewell(self) -> Reply | None:
        """The reply that closed the session, None when none did."""
        replies = [self.mail, *self.recipients, self.data, self.final]
        return next((reply for reply in replies if reply and reply.code == 421), None)

    @property
    def too_many(self) -> list[int]:
        """The recipients that were too many for one transaction, where it took any."""
        if not 0 < self.accepted < len(self.recipients):
            return []
        return [
            number
            for number, reply in enumerate(self.recipients)
            if reply is not None
            and not reply.is_positive
            and answer_of(Phase.RCPT, reply) is Answer.TOO_MANY
        ]

    @property
    def ends_in_too_many(self) -> bool:
        """Whether all recipients behind the first that was too many were not taken either."""
        behind = self.recipients[self.too_many[0] :] if self.too_many else []
        return bool(behind) and not any(reply and reply.is_positive for reply in behind)

    @property
    def is_out_of_turn(self) -> bool:
        """Whether MAIL was refused for the moment at which it came, or was not understood."""
        reply = self.mail
        if reply is None or reply.code < 400:
            return False
        # RFC 3463 §3.6: X.5.Z is about the protocol, not about the mail. A 5yz without a status may
        # be; a 4yz without one mostly asks for fewer messages, and not for more sessions.
        if reply.status is None:
            return reply.is_permanent
        return reply.status.subject == 5

    @property
    def data_answers_a_recipient(self) -> bool:
        """Whether DATA was refused with what is about a recipient, though some were taken."""
        data = self.data
        if data is None or data.status is None or not data.is_permanent or not self.accepted:
            return False
        return data.status.subject in (1, 2)  # RFC 3463 §3.2 and 3.3: address, mailbox

    @property
    def is_out_of_step(self) -> bool:
        """Whether MAIL or DATA was answered as if it were another command: no answer counts."""
        mail, data = self.mail, self.data
        if mail is not None and not mail.is_positive:
            return answer_of(Phase.MAIL, mail) in ASTRAY
        if data is None or data.is_intermediate or not self.accepted:
            return False  # without recipients DATA may be refused in any way
        return answer_of(Phase.DATA, data) in ASTRAY
