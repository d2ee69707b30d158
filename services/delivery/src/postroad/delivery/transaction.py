"""One transaction as values: what is sent, and what was answered to each part of it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from postroad.mail.address import Mailbox
from postroad.smtp.reply import Reply


@dataclass(frozen=True, slots=True)
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
class Transaction:
    """
    What was answered: to MAIL, to each RCPT, to DATA, and to the final dot.

    `unasked`: the peer was not asked at all, `mail` is a refusal of ours.
    """

    mail: Reply | None = None
    recipients: list[Reply | None] = field(default_factory=list)
    data: Reply | None = None
    final: Reply | None = None
    unasked: bool = False

    def reply_for(self, number: int) -> Reply | None:
        """Return the reply that decides about one recipient, None when there is none."""
        if self.mail is not None and not self.mail.is_positive:
            return self.mail
        rcpt = self.recipients[number]
        if rcpt is None or not rcpt.is_positive:
            return rcpt
        return self.final or self.data

    @property
    def is_begun(self) -> bool:
        """Whether the peer took MAIL."""
        return self.mail is not None and self.mail.is_positive

    @property
    def farewell(self) -> Reply | None:
        """The reply that closed the session, None when none did."""
        replies = [self.mail, *self.recipients, self.data, self.final]
        return next((reply for reply in replies if reply and reply.code == 421), None)

    @property
    def is_out_of_turn(self) -> bool:
        """Whether MAIL was refused for the moment at which it came, or was not understood."""
        reply = self.mail
        if reply is None or not reply.is_permanent:
            return False
        # RFC 3463 §3.6: X.5.Z is about the protocol, not about the mail. Without a status, maybe.
        return reply.status is None or reply.status.subject == 5
