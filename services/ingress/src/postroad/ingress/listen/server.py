"""
The listeners and the slots of connections: who may connect, and when a connection is ended.

A connection over a limit gets 421 and is closed. So does every connection while there is no
configuration. At a drain the listeners close, idle sessions get 421, and messages that are being
received have a limited time to finish.
"""

import asyncio
import math
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress

from postroad.acceptance.admission import ListenerKind
from postroad.acceptance.history import Refusal
from postroad.acceptance.incoming import AcceptanceTools
from postroad.ingress import metrics, replies
from postroad.ingress.auth.logins import Logins
from postroad.ingress.connections.table import Connections, ConnectionSlot, Full
from postroad.ingress.limits import IngressLimits
from postroad.ingress.listen.door import Door
from postroad.ingress.listen.listener import Listener
from postroad.ingress.session.handshake import SCARCE_TIMEOUT
from postroad.ingress.session.host import Guest
from postroad.mail.ip_address import Address, Network
from postroad.mail.trace import ClientInfo
from postroad.policy.snapshot import Snapshot
from postroad.process.sockets import BACKLOG
from postroad.queue.configuration import Configuration
from postroad.smtp.reply import Reply
from postroad.smtp.server.content import LineEnds
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_SWEEP = 1.0  # seconds between looks for clients that take too long
_LAST_REPLIES = 0.5  # seconds at a drain in which clients may take the last replies

_NOT_CONFIGURED = metrics.TURNED_AWAY.labels("configuration")
_DRAINING = metrics.TURNED_AWAY.labels("draining")
_FULL = {
    Full.CONNECTIONS: replies.TOO_MANY_CONNECTIONS,
    Full.KEPT: replies.TOO_MANY_CONNECTIONS,
    Full.ADDRESS: replies.TOO_MANY_FROM_YOU,
    Full.NETWORK: replies.TOO_MANY_FROM_NETWORK,
}
_BEGUN = {kind: metrics.SESSIONS.labels(kind.value) for kind in ListenerKind}
_COUNTED = {full: metrics.TURNED_AWAY.labels(full.value) for full in Full}


class Server:
    """All listeners of a process and the connections to them; implements host.SessionServer."""

    def __init__(
        self,
        tools: AcceptanceTools,
        limits: IngressLimits,
        logins: Logins,
        configuration: Configuration,
        tls: ssl.SSLContext | None,
        *,
        insecure_auth: bool,
        line_ends: LineEnds,
    ) -> None:
        self.tools = tools
        self.limits = limits
        self.logins = logins
        self.tls = tls
        self.insecure_auth = insecure_auth
        self.line_ends = line_ends
        self.draining = False
        self.scarce = False
        self.patience = limits.idle.total_seconds()
        self.connections = Connections(limits)
        self._configuration = configuration
        self._nobody_to_turn_out = False  # as far as the last look showed
        self._servers: list[asyncio.Server | Listener] = []
        self._sessions: set[Guest] = set()  # those whose conversation goes on
        self._none_left = asyncio.Event()  # no conversation, at a drain
        self._nobody_left = asyncio.Event()  # no connection

    def snapshot(self) -> Snapshot | None:
        """Return the configuration in force."""
        return self._configuration.current

    # ------------------------------------------------------------ listeners

    async def listen(self, kind: ListenerKind, listener: socket.socket) -> None:
        """Serve a listening socket."""
        loop, tls = asyncio.get_running_loop(), self._tls_of(kind)
        if tls is not None:
            self._servers.append(Listener(self, kind, listener, trusted=None, tls=tls))
            return
        # Nothing precedes the session here, and the event loop's own server accepts faster.
        server = await loop.create_server(
            lambda: Door(self, kind, loop), sock=listener, backlog=BACKLOG
        )
        self._servers.append(server)

    def listen_proxied(
        self, kind: ListenerKind, listener: socket.socket, *, trusted: Iterable[Network]
    ) -> None:
        """Serve a listening socket whose connections begin with a PROXY header."""
        tls = self._tls_of(kind)
        self._servers.append(Listener(self, kind, listener, trusted=trusted, tls=tls))

    def _tls_of(self, kind: ListenerKind) -> ssl.SSLContext | None:
        return self.tls if kind is ListenerKind.SUBMISSIONS else None

    # ------------------------------------------------------------ slots

    def enter(self, address: Address) -> ConnectionSlot | Reply:
        """Take a slot for a new connection; if there is none, return the reply that says why."""
        return self._taken(self.connections.take(address, self.is_known), address)

    def enter_unnamed(self) -> ConnectionSlot | Reply:
        """Take a slot for a load balancer's connection, whose client is not known yet."""
        return self._taken(self.connections.take_unnamed(), None)

    def name(self, slot: ConnectionSlot, address: Address) -> Reply | None:
        """Count a slot for its client; if that is refused, free it and return the reply."""
        full = self.connections.name(slot, address, self.is_known)
        refusal = self._taken(full or slot, address)
        return refusal if isinstance(refusal, Reply) else None

    def _taken(
        self, taken: ConnectionSlot | Full, address: Address | None
    ) -> ConnectionSlot | Reply:
        self._count()
        if isinstance(taken, ConnectionSlot):
            return taken
        _COUNTED[taken].inc()
        reply = _FULL[taken]
        if address is not None:
            client = ClientInfo(address, str(address))
            self.tools.history.refused(Refusal(command="CONNECT", reply=reply, client_info=client))
        return reply

    def leave(self, slot: ConnectionSlot) -> None:
        """Free a slot; freeing it again does nothing."""
        self.connections.give_back(slot)
        self._count()
        if not len(self.connections):
            self._nobody_left.set()

    def _count(self) -> None:
        metrics.OPEN_SESSIONS.set(len(self.connections))
        self._mind_scarcity()

    def _mind_scarcity(self) -> None:
        if self.scarce is not self.connections.scarce:
            self.scarce = not self.scarce
            idle = self.limits.idle.total_seconds()
            self.patience = min(idle, SCARCE_TIMEOUT) if self.scarce else idle

    def is_known(self, address: Address) -> bool:
        """Whether an address is in the networks of a Client."""
        snapshot = self._configuration.current
        return snapshot is not None and address in snapshot.clients_by_network

    # ------------------------------------------------------------ memory

    def hold(self, slot: ConnectionSlot, octets: int) -> None:
        """Record how much memory a connection holds; end the largest ones if memory is full."""
        self.connections.count(slot, octets)
        if self.connections.memory.full and not self._nobody_to_turn_out:
            self._turn_out()
        self._mind_scarcity()

    def has_room(self, slot: ConnectionSlot, *, known: bool) -> bool:
        """Whether a connection may hold more memory."""
        return self.connections.memory.has_room(slot, len(self.connections), known=known)

    def _turn_out(self) -> None:
        memory = self.connections.memory
        self._nobody_to_turn_out = True  # counting below calls this method again
        for slot in self.connections:
            if slot.holder is not None:
                slot.holder.settle()  # it may hold less than was counted last
        for slot in memory.to_turn_out(list(self.connections)):
            if slot.holder is not None:
                slot.holder.turn_out(replies.TURNED_OUT)
            self.connections.count(slot, 0)
        # If that is not enough, all the rest is being stored and will soon be free: stop looking.
        self._nobody_to_turn_out = memory.full

    # ------------------------------------------------------------ sessions

    def admit(self, session: Guest) -> Reply | None:
        """Begin a session; return why it is turned away, None when it is not."""
        self._sessions.add(session)
        if self.draining:
            _DRAINING.inc()
            return replies.DRAINING
        if self._configuration.current is None:
            _NOT_CONFIGURED.inc()
            return replies.NOT_CONFIGURED
        _BEGUN[session.kind].inc()
        return None

    def forget(self, session: Guest) -> None:
        """Forget a session whose conversation is over."""
        self._sessions.discard(session)
        if self.draining and not self._sessions:
            self._none_left.set()

    async def sweep(self) -> None:
        """End connections whose clients take too long, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP)
            now = loop.time()
            most = SCARCE_TIMEOUT if self.scarce else math.inf
            self._nobody_to_turn_out = False
            for slot in self.connections:
                holder = slot.holder
                if holder:
                    holder.settle()
                if holder and holder.waiting_since + min(holder.patience, most) < now:
                    holder.end(replies.IDLE)
            metrics.HELD.set(self.connections.memory.held)

    # ------------------------------------------------------------ drain

    async def drain(self, *, seconds: float) -> None:
        """Refuse new sessions, end idle ones, and let messages being received finish."""
        self.draining = True
        for server in self._servers:
            server.close()
        for slot in self.connections:
            if slot.holder and not slot.holder.in_content:
                slot.holder.end(replies.DRAINING)
        if self._sessions:
            try:
                async with asyncio.timeout(seconds):
                    await self._none_left.wait()
            except TimeoutError:
                log.warning("messages that were coming in are cut off", count=len(self._sessions))
        await self._close_all()

    async def _close_all(self) -> None:
        for slot in self.connections:
            if slot.holder:
                slot.holder.end(replies.DRAINING)
        if len(self.connections):
            self._nobody_left.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_REPLIES):
                    await self._nobody_left.wait()
        for slot in self.connections:
            if slot.holder:
                slot.holder.abort()
        await asyncio.sleep(0)
