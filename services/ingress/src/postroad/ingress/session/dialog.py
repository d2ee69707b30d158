"""
What each SMTP command means: one method for each verb, on the state of one session.

Methods return the reply and do no I/O of their own but for AUTH, STARTTLS and DATA, which the
session does for them. Decisions are admission's; this module knows the order of commands and the
parameters of the extensions that are announced.
"""

from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from postroad.ingress import metrics, replies
from postroad.ingress.acceptance.history import Refusal
from postroad.ingress.acceptance.intake import Intake
from postroad.ingress.acceptance.transaction import Transaction
from postroad.ingress.admission import (
    ListenerKind,
    Sender,
    Submitter,
    admit_recipient,
    admit_sender,
    clients_by_network,
    readmit_sender,
)
from postroad.ingress.session.commands import Command, CommandSyntaxError, path_in, read_path
from postroad.ingress.session.hangup import Hangup
from postroad.ingress.session.login_dialog import LoginDialog
from postroad.mail.address import (
    Mailbox,
    complete_reverse_path,
    parse_forward_path,
    parse_reverse_path,
)
from postroad.mail.envelope import Body
from postroad.mail.errors import AddressSyntaxError, DomainMissingError
from postroad.mail.trace import received_protocol
from postroad.mail.visible import visible
from postroad.policy.model import Client, Snapshot, WayOut
from postroad.smtp.reply import Reply
from postroad.telemetry import tracing

if TYPE_CHECKING:
    from postroad.ingress.session.session import SmtpSession

_BODIES = {"7BIT": Body.SEVEN_BIT, "8BITMIME": Body.EIGHT_BIT}
_MAX_NAME = 255
_SETTLED_AFTER = 32  # recipients, some 20 KB

_ACCEPTED = metrics.RECIPIENTS.labels("accepted")
_REJECTED = metrics.RECIPIENTS.labels("rejected")
_DEFERRED = metrics.RECIPIENTS.labels("deferred")


@lru_cache(maxsize=64)
def _offer(hostname: str, size: int, *, starttls: bool, auth: bool) -> Reply:
    """Return the reply to EHLO; all clients hear one of the same few."""
    words = [f"{hostname} at your service", "PIPELINING"]
    words += [f"SIZE {size}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
    words += ["STARTTLS"] * starttls + ["AUTH PLAIN LOGIN"] * auth
    return Reply(250, None, tuple(words))


class Dialog:
    """The state of a session between commands, and what commands do to it."""

    __slots__ = (
        "_authenticated",
        "_extended",
        "_helo",
        "_host",
        "_is_submission",
        "_login",
        "_network",
        "_session",
        "_transaction",
    )

    def __init__(self, session: "SmtpSession") -> None:
        self._session = session
        self._host = session.host
        self._helo = ""
        self._extended = False
        self._authenticated: Client | None = None
        self._login = LoginDialog(session, self._host.logins)
        self._is_submission = session.kind is not ListenerKind.RELAY
        self._transaction: Transaction | None = None
        self._network: tuple[Snapshot, tuple[Client, ...]] | None = None

    @property
    def greeted(self) -> bool:
        """Whether the client has said who it is."""
        return bool(self._helo)

    @property
    def by_client(self) -> bool:
        """Whether what is said now is said in the name of a Client: by login, or by this MAIL."""
        transaction = self._transaction
        named = transaction is not None and transaction.sender.client is not None
        return named or self._authenticated is not None

    @property
    def held(self) -> int:
        """Octets of memory that the envelope takes."""
        return self._transaction.held if self._transaction is not None else 0

    def obey_at_once(self, command: Command) -> Reply | None:
        """Do what a command says that waits for nothing; None for all others, which `obey` does."""
        verb, argument = command
        method = _SIMPLE.get(verb)
        if method is None:
            return None
        transaction = self._transaction
        try:
            reply = method(self, argument)
        except CommandSyntaxError as error:
            reply = Reply.of(501, "5.5.4", str(error))
        if reply.code >= 400:
            self._tell(verb, argument, reply, transaction)
        return reply

    async def obey(self, command: Command) -> Reply | None:
        """Do what another command says and return the reply; None when all replies are given."""
        verb, argument = command
        method = _SLOW.get(verb)
        transaction = self._transaction
        try:
            reply = await method(self, argument) if method else replies.UNKNOWN_COMMAND
        except CommandSyntaxError as error:
            reply = Reply.of(501, "5.5.4", str(error))
        if reply is not None and reply.code >= 400:
            self._tell(verb, argument, reply, transaction)
        return reply

    def tell(self, command: str, reply: Reply) -> None:
        """Tell of a refusal that is no answer to one command: the session's end, or a bad line."""
        self._tell(command, "", reply, self._transaction)

    def _tell(
        self, command: str, argument: str, reply: Reply, transaction: Transaction | None
    ) -> None:
        session = self._session
        sender = transaction.reverse_path if transaction else ""
        recipients: tuple[str, ...] = ()
        if command == "MAIL":
            sender = path_in(argument)
        elif command == "RCPT":
            recipients = (path_in(argument),)
        elif command == "DATA" and transaction is not None:
            recipients = tuple(map(str, transaction.recipients))
        self._host.tools.history.refused(
            Refusal(
                # A verb that is none may be anything, a password told too early too.
                command=command if command in _COMMANDS else "OTHER",
                reply=reply,
                peer=session.address,
                helo=self._helo,
                client=self._client_text(transaction),
                user=self._login.username[:_MAX_NAME] if command == "AUTH" else "",
                sender=sender,
                recipients=recipients,
                size=transaction.size if transaction else 0,
                tls=session.tls_text if session.tls_active else "",
            )
        )

    def _client_text(self, transaction: Transaction | None) -> str:
        if transaction is not None and transaction.sender.client is not None:
            return str(transaction.sender.client.key)
        if self._authenticated is not None:
            return str(self._authenticated.key)
        return ""

    # ------------------------------------------------------------ greetings

    def _ehlo(self, argument: str) -> Reply:
        refusal = self._greet(argument)
        if refusal is not None:
            return refusal
        self._extended = True
        tools = self._host.tools
        starttls = self._host.tls is not None and not self._session.tls_active
        return _offer(
            tools.hostname, tools.limits.message_size, starttls=starttls, auth=self._may_log_in()
        )

    def _hello(self, argument: str) -> Reply:
        refusal = self._greet(argument)
        self._extended = False
        return refusal or Reply(250, None, (self._host.tools.hostname,))

    def _greet(self, argument: str) -> Reply | None:
        words = argument.split()
        if not words:
            return replies.NAME_NEEDED
        self._helo = visible(words[0])[:_MAX_NAME]
        self._transaction = None  # RFC 5321 §4.1.4: EHLO does what RSET does
        return None

    def _may_log_in(self) -> bool:
        if self._authenticated is not None:
            return False
        insecure = self._host.insecure_auth and self._session.address.is_loopback
        return self._session.tls_active or insecure

    # ------------------------------------------------------------ the envelope

    def _mail(self, argument: str) -> Reply:
        if not self._helo:
            return replies.HELO_FIRST
        if self._transaction is not None:
            return replies.NESTED_MAIL
        snapshot = self._host.snapshot()
        if snapshot is None:
            return replies.NOT_CONFIGURED
        said = read_path("FROM", argument, bare=self._is_submission)
        parameters = said.parameters
        unknown = parameters.keys() - {"SIZE", "BODY", "SMTPUTF8", "AUTH"}
        if unknown or (parameters and not self._extended):
            return replies.PARAMETER_UNKNOWN
        refusal = self._size_refusal(parameters.get("SIZE"))
        if refusal is not None:
            return refusal
        body = _BODIES.get(parameters.get("BODY", "7BIT").upper())
        if body is None:
            return replies.PARAMETER_UNKNOWN
        utf8 = "SMTPUTF8" in parameters
        try:
            sender = self._sender(snapshot, said.path, utf8=utf8)
        except AddressSyntaxError as error:
            return Reply.of(553, "5.1.7", str(error))
        if isinstance(sender, Reply):
            return sender
        self._transaction = self._begin(snapshot, sender, body, utf8)
        return replies.SENDER_OK

    def _sender(self, snapshot: Snapshot, path: str, *, utf8: bool) -> Sender | Reply:
        """Return whose mail this is; a Client's sender without a domain is one of this host."""
        submitter, missing = self._submitter(snapshot), None
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

    def _size_refusal(self, size: str | None) -> Reply | None:
        if size is None:
            return None
        if not (size.isascii() and size.isdigit() and len(size) <= 20):
            raise CommandSyntaxError("SIZE is a number of octets")
        return replies.TOO_LARGE if int(size) > self._host.tools.limits.message_size else None

    def _submitter(self, snapshot: Snapshot) -> Submitter:
        kind = self._session.kind
        if self._authenticated is not None:
            # As the snapshot has the Client now: what was proven may have been taken away since.
            client = snapshot.clients.get(self._authenticated.key)
            if client is not None and client.verifier == self._authenticated.verifier:
                return Submitter(kind, (client,), authenticated=True)
        if self._network is None or self._network[0] is not snapshot:
            self._network = (snapshot, clients_by_network(snapshot, self._session.address))
        return Submitter(kind, self._network[1])

    def _begin(self, snapshot: Snapshot, sender: Sender, body: Body, utf8: bool) -> Transaction:
        session = self._session
        under_tls = session.tls_active
        protocol = received_protocol(
            extended=self._extended,
            utf8=utf8,
            tls=under_tls,
            authenticated=self._authenticated is not None,
        )
        return Transaction(
            snapshot=snapshot,
            sender=sender,
            helo=self._helo,
            peer=session.address,
            peer_text=session.address_text,
            protocol=protocol,
            tls=session.tls_text if under_tls else "",
            submitted=self._is_submission or self._authenticated is not None,
            body=body,
            smtputf8=utf8,
            recipients={},
        )

    def _judged_again(self, transaction: Transaction) -> Reply | None:
        """Apply what has come into force since MAIL; a reply says why the transaction is over."""
        snapshot = self._host.snapshot()
        if snapshot is transaction.snapshot:
            return None
        if snapshot is None:
            self._transaction = None
            return replies.NOT_CONFIGURED
        sender = readmit_sender(snapshot, self._submitter(snapshot), transaction.sender)
        if isinstance(sender, Reply):
            self._transaction = None
            return sender
        transaction.snapshot, transaction.sender = snapshot, sender
        return None

    def _rcpt(self, argument: str) -> Reply:
        transaction = self._transaction
        if transaction is None:
            return replies.MAIL_FIRST
        said = read_path("TO", argument, bare=self._is_submission)
        if said.parameters:
            return replies.PARAMETER_UNKNOWN
        outcome = self._judged_again(transaction) or self._recipient(transaction, said.path)
        if isinstance(outcome, Reply):
            (_REJECTED if outcome.is_permanent else _DEFERRED).inc()
            return outcome
        mailbox, way_out = outcome
        transaction.accept(mailbox, way_out)
        if not len(transaction.recipients) % _SETTLED_AFTER:
            self._session.settle()
        _ACCEPTED.inc()
        return replies.RECIPIENT_OK

    def _recipient(self, transaction: Transaction, path: str) -> tuple[Mailbox, WayOut] | Reply:
        transaction.asked += 1
        if transaction.asked > self._host.tools.limits.recipients:
            return replies.TOO_MANY_RECIPIENTS
        if self._host.scarce and not self._session.has_room():
            return replies.MEMORY_SCARCE
        snapshot = transaction.snapshot
        here = snapshot.postmaster_domain if path.lower() == "<postmaster>" else None
        try:
            mailbox = parse_forward_path(path, postmaster_domain=here or self._host.tools.hostname)
        except AddressSyntaxError as error:
            return Reply.of(553, "5.1.3", str(error))
        if mailbox.needs_smtputf8 and not transaction.smtputf8:
            return replies.UTF8_NEEDED
        way_out = admit_recipient(snapshot, transaction.sender, mailbox)
        return way_out if isinstance(way_out, Reply) else (mailbox, way_out)

    async def _data(self, argument: str) -> Reply:
        transaction = self._transaction
        if argument:
            return replies.NO_ARGUMENT
        if transaction is None:
            return replies.MAIL_FIRST
        if not transaction.recipients:
            return replies.RCPT_FIRST
        refusal = self._judged_again(transaction)
        if refusal is not None:
            return refusal
        self._transaction = None
        self._session.say(replies.START_CONTENT)
        with tracing.span("smtp.transaction", kind="server") as span:
            if tracing.enabled():
                span.set({"client.address": transaction.peer_text})
            intake = Intake(self._host.tools, transaction, partial(self._judged_again, transaction))
            reply = await self._session.content(intake)
            if not reply.is_positive:
                span.fail(str(reply))
            return reply

    # ------------------------------------------------------------ the small ones

    def _rset(self, argument: str) -> Reply:
        if argument:
            return replies.NO_ARGUMENT
        self._transaction = None
        return replies.RESET

    def _noop(self, _: str) -> Reply:
        return replies.OK

    def _vrfy(self, argument: str) -> Reply:
        return replies.VERIFY if argument else replies.NAME_NEEDED

    def _help(self, _: str) -> Reply:
        return replies.HELP

    async def _quit(self, _: str) -> Reply:
        raise Hangup(replies.BYE)

    # ------------------------------------------------------------ security

    async def _starttls(self, argument: str) -> Reply | None:
        if argument:
            return replies.NO_ARGUMENT
        if self._session.tls_active:
            return replies.TLS_ALREADY
        if self._host.tls is None:
            return replies.TLS_NOT_HERE
        await self._session.start_tls()
        # RFC 3207 §4.2: nothing of before is known any more.
        self._helo, self._extended = "", False
        self._transaction, self._authenticated = None, None
        return None

    async def _auth(self, argument: str) -> Reply:
        if not self._extended:
            return replies.HELO_FIRST
        if self._authenticated is not None:
            return replies.AUTH_ALREADY
        if self._transaction is not None:
            return replies.AUTH_IN_TRANSACTION
        if not self._may_log_in():
            return replies.AUTH_NEEDS_TLS
        snapshot = self._host.snapshot()
        if snapshot is None:
            return replies.NOT_CONFIGURED
        outcome = await self._login.log_in(snapshot, argument)
        if isinstance(outcome, Client):
            self._authenticated = outcome
            return replies.AUTHENTICATED
        if self._login.over:
            self._session.say(outcome)
            self.tell("AUTH", outcome)
            raise Hangup(replies.TOO_MANY_ERRORS)
        return outcome


_SIMPLE: dict[str, Callable[[Dialog, str], Reply]] = {
    "EHLO": Dialog._ehlo,
    "HELO": Dialog._hello,
    "MAIL": Dialog._mail,
    "RCPT": Dialog._rcpt,
    "RSET": Dialog._rset,
    "NOOP": Dialog._noop,
    "VRFY": Dialog._vrfy,
    "HELP": Dialog._help,
}
_SLOW: dict[str, Callable[[Dialog, str], Awaitable[Reply | None]]] = {
    "DATA": Dialog._data,
    "QUIT": Dialog._quit,
    "STARTTLS": Dialog._starttls,
    "AUTH": Dialog._auth,
}
_COMMANDS = frozenset({*_SIMPLE, *_SLOW, "SESSION", "CONNECT"})
