"""The AUTH command of one session: what the client is asked, and how often it may fail."""

from postroad.ingress import metrics, replies
from postroad.ingress.auth import sasl as auth
from postroad.ingress.auth.logins import Logins
from postroad.ingress.session.client import ClientConnection
from postroad.policy.model import Client
from postroad.policy.snapshot import Snapshot
from postroad.smtp.reply import Reply
from postroad.smtp.server.commands import CommandSyntaxError

_MAX_FAILURES = 3  # before the session is closed


class LoginDialog:
    """The logins of one session. `username` is the name of the last one, for the history."""

    def __init__(self, connection: ClientConnection, logins: Logins) -> None:
        self._connection = connection
        self._logins = logins
        self._failures = 0
        self.username = ""

    @property
    def over(self) -> bool:
        """Whether the session has failed too often to go on."""
        return self._failures >= _MAX_FAILURES

    async def log_in(self, snapshot: Snapshot, argument: str) -> Client | Reply:
        """Hold the exchange of an AUTH command; return the Client, or the reply to a failure."""
        self.username = ""
        try:
            said = await auth.exchange(argument, self._ask)
        except (auth.MalformedResponse, CommandSyntaxError):
            metrics.LOGINS.labels("malformed").inc()
            return replies.AUTH_MALFORMED
        if isinstance(said, Reply):
            return said
        self.username, password = said
        address = self._connection.address
        outcome = await self._logins.log_in(snapshot, address, self.username, password)
        if isinstance(outcome, Client):
            return outcome
        await self._connection.pause(outcome.delay)
        self._failures += 1
        return outcome.reply

    async def _ask(self, challenge: str) -> str:
        self._connection.say(Reply(334, None, (challenge,)))
        return await self._connection.line()
