"""The envelope of one message, and the client that gave it."""

from dataclasses import dataclass
from sys import getsizeof

from postroad.acceptance.admission import Sender
from postroad.mail.address import Mailbox
from postroad.mail.envelope import Body
from postroad.mail.trace import ClientInfo
from postroad.policy.model import EgressPath
from postroad.policy.snapshot import Snapshot

_RECIPIENT = 160  # octets: its object, and its place in the table


@dataclass(slots=True)
class Transaction:
    """The accepted MAIL and RCPT commands of a message, and the client that sent them."""

    snapshot: Snapshot  # the configuration by which it was last admitted
    sender: Sender
    client_info: ClientInfo
    protocol: str  # the `with` of the Received field
    submitted: bool
    body: Body
    smtputf8: bool
    recipients: dict[Mailbox, EgressPath]
    asked: int = 0  # RCPT commands, with refused and repeated ones
    size: int = 0  # octets of content, once it has arrived
    held: int = 0  # octets of memory that the recipients take

    def accept(self, recipient: Mailbox, egress_path: EgressPath) -> None:
        """Take a recipient."""
        self.recipients[recipient] = egress_path
        self.held += _RECIPIENT + getsizeof(recipient.local_part) + getsizeof(recipient.domain)

    @property
    def reverse_path(self) -> str:
        """The reverse-path as text."""
        return str(self.sender.reverse_path or "")
