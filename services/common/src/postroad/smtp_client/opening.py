"""
Opening a session as a peer and its Relay want it: TLS as far as it can or must be had, a login.

The one place where a session is given up for another: opportunistic TLS that failed is tried again
without TLS.
"""

import ipaddress
from collections.abc import Callable
from functools import partial

from postroad.policy.model import Credentials, TlsMode
from postroad.smtp import command
from postroad.smtp.client import Phase
from postroad.smtp.errors import RemoteProtocolError
from postroad.smtp.reply import Reply
from postroad.smtp_client.conversation import Conversation, unhurried
from postroad.smtp_client.dispositions import Answer, Protection, Step, answer_of, step
from postroad.smtp_client.network import NetworkError, TlsFailed, connect
from postroad.smtp_client.peer import (
    LoginUnavailable,
    Peer,
    SessionError,
    SessionLost,
    SessionRefused,
    Timeouts,
    TlsUnavailable,
)
from postroad.smtp_client.session import Session


class _TlsGaveWay(Exception):
    """TLS failed, and may be done without."""


async def open_session(
    peer: Peer,
    timeouts: Timeouts,
    *,
    tls_failed: str = "",
    is_hurried: Callable[[], bool] = unhurried,
) -> Session:
    """
    Open a session as far as MAIL; Refused, SessionLost, TlsUnavailable or NetworkError if not.

    Opportunistic TLS that fails is tried without, on a new connection; Required and Verified never
    fall back. `tls_failed`: why it failed in a session before, which was too late to be seen here.
    `is_hurried` says at any time whether the peer has the hurried times.
    """
    if not tls_failed:
        try:
            return await _opened(peer, timeouts, is_hurried)
        except _TlsGaveWay as error:
            tls_failed = str(error)
    return await _opened(peer, timeouts, is_hurried, tls_failed=tls_failed)


def is_nobody_there(error: SessionError | NetworkError) -> bool:
    """Whether opening failed without a connection or a greeting, so for everybody who tries."""
    if isinstance(error, SessionLost):
        return error.phase is Phase.GREETING
    return isinstance(error, NetworkError)


async def _opened(
    peer: Peer, timeouts: Timeouts, is_hurried: Callable[[], bool], *, tls_failed: str = ""
) -> Session:
    connection = await connect(
        peer.address,
        peer.port,
        source=peer.source,
        timeout=timeouts.of(Phase.CONNECT),
    )
    dialog = Conversation(connection, timeouts, peer.credentials, is_hurried=is_hurried)
    opening = _Opening(peer, dialog)
    try:
        await opening.go_through(tls=not tls_failed)
    except (SessionRefused, SessionLost) as error:
        opening.dialog.abort()
        await connection.gone  # before another takes its place
        if step(error.phase, error.answer, opening.protection) is Step.IN_CLEAR:
            raise _TlsGaveWay(str(error)) from error
        if error.phase in (Phase.STARTTLS, Phase.HANDSHAKE):
            raise TlsUnavailable(str(error)) from error
        raise
    except BaseException:
        opening.dialog.abort()
        raise
    return Session(peer, opening.dialog, tls_failed=tls_failed)


class _Opening:
    """A dialog on its way to a session."""

    def __init__(self, peer: Peer, dialog: Conversation) -> None:
        self.peer = peer
        self.dialog = dialog
        self.protection = Protection.CLEAR
        self._conversation = dialog.conversation

    async def go_through(self, *, tls: bool) -> None:
        """Greet, protect, log in."""
        if self.peer.implicit_tls:
            await self._shake_hands()
        await self._greet()
        if tls:
            await self._protect()
        if self.peer.credentials is not None:
            if not self.tls and not ipaddress.ip_address(self.peer.address).is_loopback:
                raise TlsUnavailable(f"{self.peer.host} offers no TLS to log in under")
            await self._log_in(self.peer.credentials)

    @property
    def tls(self) -> str:
        """The TLS version and cipher, "" without TLS."""
        return self.dialog.connection.tls

    async def _ask(self, phase: Phase, octets: Callable[[], bytes]) -> Reply:
        self.dialog.say(phase, octets)
        return await self.dialog.answer()

    async def _greet(self) -> None:
        """Hear the greeting and introduce ourselves; Refused or SessionLost if that fails."""
        greeting = await self.dialog.answer()
        if greeting.code != 220:
            raise SessionRefused(Phase.GREETING, greeting)
        await self._introduce()

    async def _introduce(self) -> None:
        """Say EHLO, or HELO to a server that does not know it."""
        name, conversation = self.peer.ehlo, self._conversation
        reply = await self._ask(Phase.EHLO, lambda: conversation.say_ehlo(name))
        if reply.is_positive:
            self._conversation.greeted(reply, extended=True)
            return
        next_step = step(Phase.EHLO, answer_of(Phase.EHLO, reply), self.protection)
        if next_step is not Step.HELO or self._conversation.over:
            raise SessionRefused(Phase.EHLO, reply)
        reply = await self._ask(Phase.HELO, lambda: conversation.say_helo(name))
        if not reply.is_positive:
            raise SessionRefused(Phase.HELO, reply)
        self._conversation.greeted(reply, extended=False)

    async def _protect(self) -> None:
        """Begin TLS where it is offered and wanted; TlsUnavailable where it must be and is not."""
        if self.peer.tls is TlsMode.NONE or self.tls:
            return
        if self._conversation.extensions.starttls:
            await self._start_tls()
        elif self.peer.tls is not TlsMode.OPPORTUNISTIC:
            raise TlsUnavailable(f"{self.peer.host} does not offer TLS")

    async def _start_tls(self) -> None:
        self.protection = self.peer.protection
        reply = await self._ask(Phase.STARTTLS, self._conversation.say_starttls)
        if not reply.is_positive:
            raise SessionRefused(Phase.STARTTLS, reply)
        try:
            self._conversation.tls_started()
        except RemoteProtocolError as error:
            raise self.dialog.lost(Phase.STARTTLS, str(error)) from error
        await self._shake_hands()
        await self._introduce()

    async def _shake_hands(self) -> None:
        self.protection = self.peer.protection
        try:
            await self.dialog.connection.start_tls(
                self.peer.host,
                verify=self.peer.verifies,
                ca_file=self.peer.ca_file,
                timeout=self.dialog.timeouts.of(Phase.HANDSHAKE),
            )
        except TlsFailed as error:
            raise self.dialog.lost(Phase.HANDSHAKE, str(error), Answer.TLS_FAULT) from error

    async def _log_in(self, credentials: Credentials) -> None:
        """AUTH PLAIN, else LOGIN; LoginUnavailable without either, Refused when it fails."""
        for octets in self._login_steps(credentials):
            reply = await self._ask(Phase.AUTH, partial(self._conversation.say_auth, octets))
            if reply.is_positive:
                return
            if not reply.is_intermediate:
                break
        raise SessionRefused(Phase.AUTH, reply)

    def _login_steps(self, credentials: Credentials) -> list[bytes]:
        offered = self._conversation.extensions.auth
        if "PLAIN" in offered:
            return [command.auth_plain(credentials.username, credentials.password)]
        if "LOGIN" in offered:
            return [
                command.line("AUTH LOGIN"),
                command.line(command.encoded(credentials.username)),
                command.line(command.encoded(credentials.password)),
            ]
        others = self.dialog.redacted(" ".join(sorted(offered)))
        what = f"only AUTH {others}" if others else "no AUTH"
        raise LoginUnavailable(f"{self.peer.host} offers {what}: there is no way to log in")
