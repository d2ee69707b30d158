"""What a connection needs of the process that took it."""

import ssl
from typing import Protocol

from postroad.acceptance.admission import ListenerKind
from postroad.acceptance.incoming import AcceptanceTools
from postroad.ingress.auth.logins import Logins
from postroad.ingress.connections.table import ConnectionSlot
from postroad.ingress.limits import IngressLimits
from postroad.mail.ip_address import Address
from postroad.policy.snapshot import Snapshot
from postroad.smtp.reply import Reply
from postroad.smtp.server.content import LineEnds


class Guest(Protocol):
    """A session, as the process that took its connection knows it."""

    kind: ListenerKind


class SessionServer(Protocol):
    """The server, as its connections see it."""

    tools: AcceptanceTools
    limits: IngressLimits
    logins: Logins
    tls: ssl.SSLContext | None
    insecure_auth: bool
    line_ends: LineEnds
    draining: bool
    scarce: bool
    """Whether slots or memory are scarce."""
    patience: float
    """Seconds that a client has for a step."""

    def snapshot(self) -> Snapshot | None:
        """Return the configuration in force."""

    def enter(self, address: Address) -> ConnectionSlot | Reply:
        """Take a slot for a new connection; a reply says why there is none."""

    def leave(self, slot: ConnectionSlot) -> None:
        """Give a slot back; once is enough, more does no harm."""

    def is_known(self, address: Address) -> bool:
        """Whether an address is in the networks of a Client."""

    def hold(self, slot: ConnectionSlot, octets: int) -> None:
        """Say how much memory a connection takes; whoever takes the most may have to go."""

    def has_room(self, slot: ConnectionSlot, *, known: bool) -> bool:
        """Whether a connection may take more memory."""

    def admit(self, session: Guest) -> Reply | None:
        """Begin a session; return why it is turned away."""

    def forget(self, session: Guest) -> None:
        """Forget a session whose conversation is over."""
