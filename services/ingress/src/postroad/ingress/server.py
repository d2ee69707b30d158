"""
The listeners: ports, TLS, and how many connections there may be, in all and from one address.

A connection over a limit is answered 421 and closed; so is every one while there is no
configuration. At a drain the listeners close, idle sessions hear 421, and messages that are coming
in may finish, within a bound.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Iterable

from postroad.ingress import metrics, replies
from postroad.ingress.admission import ListenerKind
from postroad.ingress.content import LineEnds
from postroad.ingress.intake import IntakeTools
from postroad.ingress.logins import Logins
from postroad.ingress.proxied import ProxiedListener
from postroad.ingress.session import SmtpSession
from postroad.policy.model import Snapshot
from postroad.runtime.configuration import Configuration
from postroad.runtime.logs import get_logger
from postroad.runtime.quantities import Network
from postroad.smtp.reply import Reply

log = get_logger("ingress.server")

_SWEEP = 1.0  # seconds between looks for sessions that have been idle for too long

_NOT_CONFIGURED = metrics.TURNED_AWAY.labels("configuration")
_TOO_MANY = metrics.TURNED_AWAY.labels("connections")
_TOO_MANY_FROM_ONE = metrics.TURNED_AWAY.labels("address")
_DRAINING = metrics.TURNED_AWAY.labels("draining")


class Server:
    """All listeners of a process and the sessions on them; implements session.Host."""

    def __init__(
        self,
        tools: IntakeTools,
        logins: Logins,
        configuration: Configuration,
        tls: ssl.SSLContext | None,
        *,
        insecure_auth: bool,
        line_ends: LineEnds,
    ) -> None:
        self.tools = tools
        self.logins = logins
        self.tls = tls
        self.insecure_auth = insecure_auth
        self.line_ends = line_ends
        self.draining = False
        self._configuration = configuration
        self._servers: list[asyncio.Server | ProxiedListener] = []
        self._connected: set[SmtpSession] = set()  # those with a place
        self._sessions: set[SmtpSession] = set()  # those whose conversation goes on
        self._by_address: Counter[object] = Counter()
        self._none_left = asyncio.Event()

    def snapshot(self) -> Snapshot | None:
        """Return the configuration in force."""
        return self._configuration.current

    async def listen(self, kind: ListenerKind, listener: socket.socket) -> None:
        """Serve a listening socket."""
        loop = asyncio.get_running_loop()
        tls = self.tls if kind is ListenerKind.SUBMISSIONS else None
        self._servers.append(
            await loop.create_server(
                lambda: SmtpSession(self, kind, loop),
                sock=listener,
                ssl=tls,
                ssl_handshake_timeout=30.0 if tls else None,
            )
        )

    def listen_proxied(
        self, kind: ListenerKind, listener: socket.socket, *, trusted: Iterable[Network]
    ) -> None:
        """Serve a listening socket whose connections begin with a PROXY header."""
        loop = asyncio.get_running_loop()
        proxied = ProxiedListener(
            kind,
            listener,
            lambda client: SmtpSession(self, kind, loop, client=client),
            trusted=trusted,
            tls=self.tls if kind is ListenerKind.SUBMISSIONS else None,
            at_once=self.tools.limits.connections,
            lines=self.tools.lines,
        )
        proxied.start()
        self._servers.append(proxied)

    def admit(self, session: SmtpSession) -> Reply | None:
        """Count a new session; return why it is turned away, None when it is not."""
        refusal = self._refusal(session)
        if refusal is None:
            self._sessions.add(session)
            self._connected.add(session)
            self._by_address[session.address] += 1
            metrics.SESSIONS.labels(session.kind.value).inc()
            metrics.OPEN_SESSIONS.set(len(self._connected))
        return refusal

    def _refusal(self, session: SmtpSession) -> Reply | None:
        limits = self.tools.limits
        if self.draining:
            _DRAINING.inc()
            return replies.DRAINING
        if self._configuration.current is None:
            _NOT_CONFIGURED.inc()
            return replies.NOT_CONFIGURED
        if len(self._connected) >= limits.connections:
            _TOO_MANY.inc()
            return replies.TOO_MANY_CONNECTIONS
        if self._by_address[session.address] >= limits.connections_per_address:
            _TOO_MANY_FROM_ONE.inc()
            return replies.TOO_MANY_FROM_YOU
        return None

    def release(self, session: SmtpSession) -> None:
        """Give back the place of a session whose connection is gone."""
        if session not in self._connected:
            return
        self._connected.discard(session)
        self._by_address[session.address] -= 1
        if self._by_address[session.address] <= 0:
            del self._by_address[session.address]
        metrics.OPEN_SESSIONS.set(len(self._connected))

    def forget(self, session: SmtpSession) -> None:
        """Forget a session whose conversation is over; its place is free, too."""
        self.release(session)
        self._sessions.discard(session)
        if self.draining and not self._sessions:
            self._none_left.set()

    async def sweep(self) -> None:
        """Close sessions that have been silent for too long, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP)
            now = loop.time()
            for session in [s for s in self._sessions if s.deadline < now]:
                session.end(replies.IDLE)

    async def drain(self, *, seconds: float) -> None:
        """Take no new session, end the idle ones, let messages that are coming in finish."""
        self.draining = True
        for server in self._servers:
            server.close()
        for session in list(self._sessions):
            session.end_if_idle(replies.DRAINING)
        if not self._sessions:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._none_left.wait()
        except TimeoutError:
            log.warning("messages that were coming in are cut off", count=len(self._sessions))
            for session in list(self._sessions):
                session.end(replies.DRAINING)
