"""
Opening a session as a peer and its Relay want it: TLS as far as it can or must be had, a login.

The one place where a session is given up for another: opportunistic TLS that failed is tried again
without TLS.
"""

import ipaddress

from postroad.delivery.dialog import Dialog
from postroad.delivery.network import TlsFailed, connect
from postroad.delivery.peer import Peer, Refused, SessionLost, Timeouts, TlsUnavailable
from postroad.delivery.session import Session
from postroad.policy.model import Credentials, TlsMode
from postroad.smtp import command
from postroad.smtp.client import Phase
from postroad.smtp.errors import RemoteProtocolError
from postroad.smtp.reply import Reply


async def open_session(peer: Peer, timeouts: Timeouts) -> Session:
    """
    Open a session as far as MAIL; Refused, SessionLost, TlsUnavailable or NetworkError if not.

    Opportunistic TLS that fails is tried without, on a new connection; Required and Verified never
    fall back.
    """
    opening = await _connected(peer, timeouts)
    try:
        await opening.protect()
        if peer.credentials is not None:
            if not opening.tls and not ipaddress.ip_address(peer.address).is_loopback:
                raise TlsUnavailable(f"{peer.host} offers no TLS to log in under")
            await opening.log_in(peer.credentials)
    except (TlsFailed, Refused, SessionLost) as error:
        opening.dialog.abort()
        failed_in_tls = isinstance(error, TlsFailed) or (
            isinstance(error, Refused | SessionLost) and error.phase is Phase.STARTTLS
        )
        if not failed_in_tls:
            raise
        if peer.tls is not TlsMode.OPPORTUNISTIC or peer.implicit_tls or peer.credentials:
            raise TlsUnavailable(str(error)) from error
        opening = await _connected(peer, timeouts)
    except BaseException:
        opening.dialog.abort()
        raise
    return Session(peer, opening.dialog)


async def _connected(peer: Peer, timeouts: Timeouts) -> "_Opening":
    connection = await connect(
        peer.address,
        peer.port,
        source=peer.source,
        timeout=timeouts.of(Phase.CONNECT),
    )
    opening = _Opening(peer, Dialog(connection, timeouts))
    try:
        if peer.implicit_tls:
            await opening.shake_hands()
        await opening.greet()
    except TlsFailed as error:
        opening.dialog.abort()
        raise TlsUnavailable(str(error)) from error
    except BaseException:
        opening.dialog.abort()
        raise
    return opening


class _Opening:
    """A dialog on its way to a session."""

    def __init__(self, peer: Peer, dialog: Dialog) -> None:
        self.peer = peer
        self.dialog = dialog
        self._conversation = dialog.conversation

    @property
    def tls(self) -> str:
        """The TLS version and cipher, "" without TLS."""
        return self.dialog.connection.tls

    async def _ask(self, octets: bytes) -> Reply:
        self.dialog.write(octets)
        return await self.dialog.answer()

    async def greet(self) -> None:
        """Hear the greeting and introduce ourselves; Refused or SessionLost if that fails."""
        greeting = await self.dialog.answer()
        if greeting.code != 220:
            raise Refused(Phase.GREETING, greeting)
        await self.introduce()

    async def introduce(self) -> None:
        """Say EHLO, or HELO to a server that does not know it."""
        reply = await self._ask(self._conversation.say_ehlo(self.peer.ehlo))
        if reply.is_positive:
            self._conversation.greeted(reply, extended=True)
            return
        if reply.code in (421, 450, 451, 452) or self._conversation.over:
            raise Refused(Phase.EHLO, reply)
        reply = await self._ask(self._conversation.say_helo(self.peer.ehlo))
        if not reply.is_positive:
            raise Refused(Phase.EHLO, reply)
        self._conversation.greeted(reply, extended=False)

    async def protect(self) -> None:
        """Begin TLS where it is offered and wanted; TlsUnavailable where it must be and is not."""
        if self.peer.tls is TlsMode.NONE or self.tls:
            return
        if self._conversation.extensions.starttls:
            await self._start_tls()
        elif self.peer.tls is not TlsMode.OPPORTUNISTIC:
            raise TlsUnavailable(f"{self.peer.host} does not offer TLS")

    async def _start_tls(self) -> None:
        reply = await self._ask(self._conversation.say_starttls())
        if not reply.is_positive:
            raise Refused(Phase.STARTTLS, reply)
        try:
            self._conversation.tls_started()
        except RemoteProtocolError as error:
            raise self.dialog.lost(Phase.STARTTLS, str(error)) from error
        await self.shake_hands()
        await self.introduce()

    async def shake_hands(self) -> None:
        """Do the TLS handshake on the connection; TlsFailed if that fails."""
        await self.dialog.connection.start_tls(
            self.peer.host,
            verify=self.peer.tls is TlsMode.VERIFIED,
            timeout=self.dialog.timeouts.of(Phase.STARTTLS),
        )

    async def log_in(self, credentials: Credentials) -> None:
        """AUTH PLAIN, else LOGIN; Refused when it does not succeed."""
        mechanisms = self._conversation.extensions.auth
        if "PLAIN" in mechanisms or "LOGIN" not in mechanisms:
            steps = [command.auth_plain(credentials.username, credentials.password)]
        else:
            steps = [
                command.line("AUTH LOGIN"),
                command.line(command.encoded(credentials.username)),
                command.line(command.encoded(credentials.password)),
            ]
        for octets in steps:
            reply = await self._ask(self._conversation.say_auth(octets))
            if reply.is_positive:
                return
            if not reply.is_intermediate:
                raise Refused(Phase.AUTH, reply)
        raise Refused(Phase.AUTH, reply)
