"""
What each SMTP command does: one method for each verb, in one session.

Methods return the reply and do no I/O of their own but for AUTH, STARTTLS and DATA, which the
session does for them. Which command may come now, the session's conversation knows
(`smtp.server.conversation`): what is out of its order comes with its refusal. Decisions are
admission's; this module knows the parameters of the extensions that are announced.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import lru_cache, partial

from postroad.acceptance.history import Refusal
from postroad.acceptance.incoming import IncomingMessage
from postroad.acceptance.provenance import client_name
from postroad.acceptance.transaction import Transaction
from postroad.ingress import replies
from postroad.ingress.session.client import ClientConnection, Hangup, Identity
from postroad.ingress.session.login_dialog import LoginDialog
from postroad.ingress.session.mail_commands import MailCommands
from postroad.mail.visible import visible
from postroad.policy.model import Client
from postroad.smtp.reply import Reply
from postroad.smtp.server.commands import CommandSyntaxError, path_in
from postroad.smtp.server.events import CommandLine
from postroad.smtp.server.refusals import AUTH_ALREADY
from postroad.telemetry import tracing

_MAX_NAME = 255


@lru_cache(maxsize=64)
def _offer(hostname: str, size: int, *, starttls: bool, auth: bool) -> Reply:
    """Return the reply to EHLO; all clients hear one of the same few."""
    words = [f"{hostname} at your service", "PIPELINING"]
    words += [f"SIZE {size}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
    words += ["STARTTLS"] * starttls + ["AUTH PLAIN LOGIN"] * auth
    return Reply(250, None, tuple(words))


class Dialog:
    """What the commands of one session do, and who gives them."""

    __slots__ = (
        "_connection",
        "_conversation",
        "_host",
        "_identity",
        "_login",
        "_mail_commands",
    )

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._conversation = connection.conversation
        self._host = connection.host
        self._identity = Identity()
        self._login = LoginDialog(connection, self._host.logins)
        self._mail_commands = MailCommands(connection, self._identity)

    @property
    def by_client(self) -> bool:
        """Whether what is said now is said in the name of a Client: by login, or by this MAIL."""
        transaction = self._conversation.transaction
        named = transaction is not None and transaction.sender.client is not None
        return named or self._identity.authenticated is not None

    @property
    def held(self) -> int:
        """Octets of memory that the envelope takes."""
        transaction = self._conversation.transaction
        return transaction.held if transaction is not None else 0

    def obey_at_once(self, said: CommandLine) -> Reply | None:
        """Do what a command says that waits for nothing; None for all others, which `obey` does."""
        _, verb, argument, reply = said
        transaction = self._conversation.transaction
        if reply is None:
            method = _SIMPLE.get(verb)
            if method is None:
                return None
            try:
                reply = method(self, argument)
            except CommandSyntaxError as error:
                reply = Reply.of(501, "5.5.4", str(error))
        elif reply is AUTH_ALREADY:
            reply = self._second_login()
        if reply.code >= 400:
            self._tell(verb, argument, reply, transaction)
        return reply

    async def obey(self, said: CommandLine) -> Reply | None:
        """Do what another command says and return the reply; None when all replies are given."""
        _, verb, argument, _ = said
        method = _SLOW.get(verb)
        transaction = self._conversation.transaction
        try:
            reply = await method(self, argument) if method else replies.UNKNOWN_COMMAND
        except CommandSyntaxError as error:
            reply = Reply.of(501, "5.5.4", str(error))
        if reply is not None and reply.code >= 400:
            self._tell(verb, argument, reply, transaction)
        return reply

    def tell(self, command: str, reply: Reply) -> None:
        """Tell of a refusal that is no answer to one command: the session's end, or a bad line."""
        self._tell(command, "", reply, self._conversation.transaction)

    def _tell(
        self, command: str, argument: str, reply: Reply, transaction: Transaction | None
    ) -> None:
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
                client_info=self._connection.client_info,
                client=self._client_text(transaction),
                user=self._login.username[:_MAX_NAME] if command == "AUTH" else "",
                sender=sender,
                recipients=recipients,
                size=transaction.size if transaction else 0,
            )
        )

    def _client_text(self, transaction: Transaction | None) -> str:
        if transaction is not None and transaction.sender.client is not None:
            return client_name(transaction.sender.client)
        return client_name(self._identity.authenticated)

    # ------------------------------------------------------------ greetings

    def _ehlo(self, argument: str) -> Reply:
        refusal = self._greet(argument)
        if refusal is not None:
            return refusal
        host = self._host
        starttls = host.tls is not None and not self._conversation.under_tls
        size, auth = host.limits.message_size, self._may_log_in()
        return _offer(host.tools.hostname, size, starttls=starttls, auth=auth)

    def _hello(self, argument: str) -> Reply:
        return self._greet(argument) or Reply(250, None, (self._host.tools.hostname,))

    def _greet(self, argument: str) -> Reply | None:
        words = argument.split()
        if not words:
            return replies.NAME_NEEDED
        connection, helo = self._connection, visible(words[0])[:_MAX_NAME]
        connection.client_info = replace(connection.client_info, helo=helo)
        return None

    def _may_log_in(self) -> bool:
        if self._conversation.authenticated:
            return False
        insecure = self._host.insecure_auth and self._connection.address.is_loopback
        return self._conversation.under_tls or insecure

    # ------------------------------------------------------------ a message

    def _mail(self, argument: str) -> Reply:
        return self._mail_commands.mail(argument)

    def _rcpt(self, argument: str) -> Reply:
        return self._mail_commands.rcpt(argument)

    async def _data(self, argument: str) -> Reply:
        if argument:
            return replies.NO_ARGUMENT
        transaction = self._conversation.transaction
        assert transaction is not None
        refusal = self._mail_commands.judged_again(transaction)
        if refusal is not None:
            return refusal
        submitted = transaction.submitted
        self._conversation.normalise = self._host.line_ends.normalised(submitted=submitted)
        self._connection.say(replies.START_CONTENT)
        with tracing.span("smtp.transaction", kind="server") as span:
            if tracing.enabled():
                span.set({"client.address": transaction.client_info.peer})
            judge_again = partial(self._mail_commands.judged_again, transaction)
            incoming = IncomingMessage(self._host.tools, transaction, judge_again)
            reply = await self._connection.content(incoming)
            if not reply.is_positive:
                span.fail(str(reply))
            return reply

    # ------------------------------------------------------------ the small ones

    def _rset(self, argument: str) -> Reply:
        return replies.NO_ARGUMENT if argument else replies.RESET

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
        if self._host.tls is None:
            return replies.TLS_NOT_HERE
        await self._connection.start_tls()
        # RFC 3207 §4.2: nothing of before is known any more.
        self._identity.authenticated = None
        return None

    async def _auth(self, argument: str) -> Reply:
        if not self._may_log_in():
            return replies.AUTH_NEEDS_TLS
        snapshot = self._host.snapshot()
        if snapshot is None:
            return replies.NOT_CONFIGURED
        outcome = await self._login.log_in(snapshot, argument)
        if isinstance(outcome, Client):
            self._identity.authenticated = outcome
            return replies.AUTHENTICATED
        if self._login.over:
            self._connection.say(outcome)
            self.tell("AUTH", outcome)
            raise Hangup(replies.TOO_MANY_ERRORS)
        return outcome

    def _second_login(self) -> Reply:
        """RFC 4954 §4 forbids it; who has to log in anew needs a new session for that."""
        snapshot = self._host.snapshot()
        valid = snapshot is None or self._identity.proven(snapshot) is not None
        return AUTH_ALREADY if valid else replies.LOGIN_WITHDRAWN


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
