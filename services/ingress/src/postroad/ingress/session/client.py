"""The client as its dialog sees it: the connection, and what it has said and proven of itself."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from postroad.acceptance.admission import ListenerKind
from postroad.acceptance.incoming import IncomingMessage
from postroad.acceptance.transaction import Transaction
from postroad.ingress.session.host import SessionServer
from postroad.mail.ip_address import Address
from postroad.mail.trace import ClientInfo
from postroad.policy.model import Client
from postroad.policy.snapshot import Snapshot
from postroad.smtp.reply import Reply
from postroad.smtp.server.conversation import ServerConversation


class Hangup(Exception):
    """The session is over: say this, if anything, and close. `told`: the history has it already."""

    def __init__(self, reply: Reply | None = None, *, told: bool = False) -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.told = told


@dataclass(slots=True)
class Identity:
    """Whom a client has proven to be."""

    authenticated: Client | None = None

    def proven(self, snapshot: Snapshot) -> Client | None:
        """Return the Client as a snapshot has it; None when its login is not valid there."""
        then = self.authenticated
        if then is None:
            return None
        now = snapshot.clients.get(then.key)
        if now is None or (now.username, now.verifier) != (then.username, then.verifier):
            return None
        return now


class ClientConnection(Protocol):
    """The connection, as the dialog sees it; `session.session` is the one there is."""

    host: SessionServer
    kind: ListenerKind
    conversation: ServerConversation[Transaction]
    """What the protocol allows at this moment."""
    address: Address
    client_info: ClientInfo
    """What is known about the client. The dialog adds the name that the client gives."""

    def say(self, reply: Reply) -> None:
        """Give a reply; it is written with others that are given at the same time."""

    def settle(self) -> None:
        """Tell how much memory the session takes now."""

    def has_room(self) -> bool:
        """Whether the session may take more memory."""

    async def pause(self, time: timedelta) -> None:
        """Let the client wait."""

    async def line(self) -> str:
        """Return the client's next line for AUTH; CommandSyntaxError when it is not ASCII."""

    async def content(self, incoming: IncomingMessage) -> Reply:
        """Take a message's content up to its end and return the reply to its final dot."""

    async def start_tls(self) -> None:
        """Answer STARTTLS and shake hands; Hangup when that fails."""
