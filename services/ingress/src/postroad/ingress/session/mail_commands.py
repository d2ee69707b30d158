"""
What MAIL and RCPT mean: a transaction, up to its content.

Decisions are admission's. What has come into force since MAIL is applied at each RCPT, and again
before the content.
"""

from postroad.acceptance import verdicts
from postroad.acceptance.admission import (
    ListenerKind,
    Sender,
    Submitter,
    admit_recipient,
    admit_sender,
    clients_by_network,
    readmit_sender,
)
from postroad.acceptance.transaction import Transaction
from postroad.ingress import metrics, replies
from postroad.ingress.session.client import ClientConnection, Identity
from postroad.mail.address import (
    Mailbox,
    complete_reverse_path,
    parse_forward_path,
    parse_reverse_path,
)
from postroad.mail.envelope import Body
from postroad.mail.errors import AddressSyntaxError, DomainMissingError
from postroad.mail.trace import received_protocol
from postroad.policy.model import Client, EgressPath
from postroad.policy.snapshot import Snapshot
from postroad.smtp.reply import Reply
from postroad.smtp.server.commands import CommandSyntaxError, read_path

_BODIES = {"7BIT": Body.SEVEN_BIT, "8BITMIME": Body.EIGHT_BIT}
_TAKES_VALUE = {"SIZE": True, "BODY": True, "AUTH": True, "SMTPUTF8": False}
_SETTLED_AFTER = 32  # recipients, some 20 KB

_ACCEPTED = metrics.RECIPIENTS.labels("accepted")
_REJECTED = metrics.RECIPIENTS.labels("rejected")
_DEFERRED = metrics.RECIPIENTS.labels("deferred")


class MailCommands:
    """What MAIL and RCPT do in one session, to the transaction that its conversation has open."""

    __slots__ = (
        "_connection",
        "_conversation",
        "_host",
        "_identity",
        "_network",
        "is_submission",
    )

    def __init__(self, connection: ClientConnection, identity: Identity) -> None:
        self._connection = connection
        self._conversation = connection.conversation
        self._host = connection.host
        self._identity = identity
        self._network: tuple[Snapshot, tuple[Client, ...]] | None = None
        self.is_submission = connection.kind is not ListenerKind.RELAY

    def mail(self, argument: str) -> Reply:
        """Begin a transaction."""
        snapshot = self._host.snapshot()
        if snapshot is None:
            return replies.NOT_CONFIGURED
        said = read_path("FROM", argument, bare=self.is_submission)
        parameters = said.parameters
        if parameters and not self._knows(parameters):
            return replies.PARAMETER_UNKNOWN
        refusal = self._size_refusal(parameters.get("SIZE"))
        if refusal is not None:
            return refusal
        body = _BODIES.get(parameters.get("BODY", "7BIT").upper())
        if body is None:
            return replies.PARAMETER_UNKNOWN
        utf8 = "SMTPUTF8" in parameters
        submitter = self._submitter(snapshot)
        if submitter is None:
            return replies.LOGIN_WITHDRAWN
        try:
            sender = self._sender(snapshot, submitter, said.path, utf8=utf8)
        except AddressSyntaxError as error:
            return Reply.of(553, "5.1.7", str(error))
        if isinstance(sender, Reply):
            return sender
        self._conversation.begin(self._transaction(snapshot, sender, body, utf8))
        return replies.SENDER_OK

    def _sender(
        self, snapshot: Snapshot, submitter: Submitter, path: str, *, utf8: bool
    ) -> Sender | Reply:
        """Return whose mail this is; a Client's sender without a domain is one of this host."""
        missing = None
        try:
            reverse_path = parse_reverse_path(path)
        except DomainMissingError as error:
            if not submitter.clients:
                raise
            reverse_path, missing = complete_reverse_path(path, self._host.tools.hostname), error
        if reverse_path is not None and reverse_path.needs_smtputf8 and not utf8:
            return replies.UTF8_NEEDED
        sender = admit_sender(snapshot, submitter, reverse_path)
        if missing is not None and isinstance(sender, Sender) and sender.client is None:
            raise missing
        return sender

    def _knows(self, parameters: dict[str, str]) -> bool:
        """Whether MAIL has these parameters; CommandSyntaxError if a value is missing or extra."""
        if not self._conversation.extended or parameters.keys() - _TAKES_VALUE.keys():
            return False
        for name, value in parameters.items():
            if _TAKES_VALUE[name] is not bool(value):
                raise CommandSyntaxError(f"{name} {'takes no' if value else 'needs a'} value")
        return True

    def _size_refusal(self, size: str | None) -> Reply | None:
        if size is None:
            return None
        if not (size.isascii() and size.isdigit() and len(size) <= 20):
            raise CommandSyntaxError("SIZE is a number of octets")
        return verdicts.TOO_LARGE if int(size) > self._host.limits.message_size else None

    def _submitter(self, snapshot: Snapshot) -> Submitter | None:
        """Return who submits; None who has logged in and could not do so with that any more."""
        kind = self._connection.kind
        if self._identity.authenticated is not None:
            client = self._identity.proven(snapshot)
            return None if client is None else Submitter(kind, (client,), authenticated=True)
        if self._network is None or self._network[0] is not snapshot:
            self._network = (snapshot, clients_by_network(snapshot, self._connection.address))
        return Submitter(kind, self._network[1])

    def _transaction(
        self, snapshot: Snapshot, sender: Sender, body: Body, utf8: bool
    ) -> Transaction:
        connection = self._connection
        protocol = received_protocol(
            extended=self._conversation.extended,
            utf8=utf8,
            tls=self._conversation.under_tls,
            authenticated=self._identity.authenticated is not None,
        )
        return Transaction(
            snapshot=snapshot,
            sender=sender,
            client_info=connection.client_info,
            protocol=protocol,
            submitted=self.is_submission or self._identity.authenticated is not None,
            body=body,
            smtputf8=utf8,
            recipients={},
        )

    def judged_again(self, transaction: Transaction) -> Reply | None:
        """Apply what has come into force since MAIL; a reply says why the transaction is over."""
        snapshot = self._host.snapshot()
        if snapshot is transaction.snapshot:
            return None
        if snapshot is None:
            self._conversation.give_up_transaction()
            return replies.NOT_CONFIGURED
        submitter = self._submitter(snapshot)
        if submitter is None:
            self._conversation.give_up_transaction()
            return replies.LOGIN_WITHDRAWN
        sender = readmit_sender(snapshot, submitter, transaction.sender)
        if isinstance(sender, Reply):
            self._conversation.give_up_transaction()
            return sender
        transaction.snapshot, transaction.sender = snapshot, sender
        return None

    def rcpt(self, argument: str) -> Reply:
        """Add a recipient."""
        transaction = self._conversation.transaction
        assert transaction is not None
        said = read_path("TO", argument, bare=self.is_submission)
        if said.parameters:
            return replies.PARAMETER_UNKNOWN
        outcome = self.judged_again(transaction) or self._recipient(transaction, said.path)
        if isinstance(outcome, Reply):
            (_REJECTED if outcome.is_permanent else _DEFERRED).inc()
            return outcome
        mailbox, egress_path = outcome
        transaction.accept(mailbox, egress_path)
        if not len(transaction.recipients) % _SETTLED_AFTER:
            self._connection.settle()
        _ACCEPTED.inc()
        return replies.RECIPIENT_OK

    def _recipient(self, transaction: Transaction, path: str) -> tuple[Mailbox, EgressPath] | Reply:
        transaction.asked += 1
        if transaction.asked > self._host.limits.recipients:
            return replies.TOO_MANY_RECIPIENTS
        if self._host.scarce and not self._connection.has_room():
            return replies.MEMORY_SCARCE
        snapshot = transaction.snapshot
        here = snapshot.postmaster_domain if path.lower() == "<postmaster>" else None
        try:
            mailbox = parse_forward_path(path, postmaster_domain=here or self._host.tools.hostname)
        except AddressSyntaxError as error:
            return Reply.of(553, "5.1.3", str(error))
        if mailbox.needs_smtputf8 and not transaction.smtputf8:
            return replies.UTF8_NEEDED
        egress_path = admit_recipient(snapshot, transaction.sender, mailbox)
        return egress_path if isinstance(egress_path, Reply) else (mailbox, egress_path)
