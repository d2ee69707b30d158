"""
Ports on which something precedes the session: a PROXY header, a TLS handshake, or both.

The event loop's own server reports a connection only after its handshake, so this module accepts
the sockets itself. A connection takes its slot first, and gives it back however the handshake ends.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from postroad.acceptance.admission import ListenerKind
from postroad.ingress import metrics
from postroad.ingress.connections.table import ConnectionSlot, address_of
from postroad.ingress.listen.proxied import NoHeader, header_of
from postroad.ingress.session.handshake import TIMEOUT, begin_tls
from postroad.ingress.session.host import SessionServer
from postroad.ingress.session.session import SmtpSession
from postroad.mail.ip_address import Address, Network
from postroad.process.descriptors import LACKS
from postroad.process.sockets import BACKLOG
from postroad.smtp.reply import Reply
from postroad.telemetry.log_limit import network_of
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_AT_ONCE = 100  # connections accepted before other work has its turn
_PAUSE = 1.0  # seconds without accepting, when there are no file descriptors left


class Doorkeeper(SessionServer, Protocol):
    """The server, as these ports use it."""

    def enter_unnamed(self) -> ConnectionSlot | Reply:
        """Take a slot for a load balancer's connection, whose client is not known yet."""

    def name(self, slot: ConnectionSlot, address: Address) -> Reply | None:
        """Count a slot for its client; if that is refused, free it and return the reply."""


class Listener:
    """One such port; `trusted` are the load balancers' networks, None if clients connect to it."""

    def __init__(
        self,
        host: Doorkeeper,
        kind: ListenerKind,
        listener: socket.socket,
        *,
        trusted: Iterable[Network] | None,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._host = host
        self._kind = kind
        self._listener = listener
        self._trusted = None if trusted is None else tuple(trusted)
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._openings: set[_Opening] = set()
        self._closed = False
        # An inherited socket may have been shut down, while no process served it.
        listener.listen(BACKLOG)
        self._start()

    def _start(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Stop accepting, and cut off connections that have no session yet."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for opening in tuple(self._openings):
            opening.abort()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, peer = self._listener.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError as error:
                LACKS.tell(error)
                self._loop.remove_reader(self._listener)
                self._loop.call_later(_PAUSE, self._start)
                return
            connection.setblocking(False)
            self._accepted(connection, address_of(peer))

    def _accepted(self, connection: socket.socket, peer: Address) -> None:
        """Give a connection its slot before it costs more than that."""
        slot = self._slot(connection, peer)
        if slot is None:
            connection.close()
            return
        opening = _Opening(self._host, connection, slot, tls=self._tls)
        self._openings.add(opening)
        opening.task = self._loop.create_task(self._open(opening, peer))

    def _slot(self, connection: socket.socket, peer: Address) -> ConnectionSlot | None:
        if self._trusted is None:
            entered = self._host.enter(peer)
            return entered if isinstance(entered, ConnectionSlot) else None
        if not any(peer in network for network in self._trusted):
            self._refused(peer, "untrusted", "the peer is in none of POSTROAD_PROXY_TRUSTED")
            return None
        entered = self._host.enter_unnamed()
        if isinstance(entered, Reply):
            self._refused(peer, "connections", entered.text)
            return None
        return entered

    def _refused(self, peer: Address, reason: str, why: str) -> None:
        metrics.PROXY_REFUSED.labels(reason).inc()
        left_out = self._host.tools.lines.admit("PROXY", network_of(peer))
        if left_out is not None:
            log.warning(
                "a proxied connection is refused",
                peer=str(peer),
                listener=self._kind.value,
                reason=reason,
                error=why,
                left_out=left_out,
            )

    async def _open(self, opening: "_Opening", peer: Address) -> None:
        try:
            if self._trusted is not None and not await opening.named(peer):
                return
            await opening.begin(SmtpSession(self._host, self._kind, self._loop, opening.slot))
        except NoHeader as refused:
            self._refused(peer, refused.reason, str(refused))
        except OSError:
            pass  # a load balancer's check whether the port is open
        except Exception:
            metrics.INTERNAL_ERRORS.inc()
            left_out = self._host.tools.lines.admit("a connection failed", "")
            if left_out is not None:
                log.exception("a connection failed", peer=str(peer), left_out=left_out)
        finally:
            opening.end_without_session()
            self._openings.discard(opening)


class _Opening:
    """A connection that has a slot and no session yet; the holder of its slot."""

    in_content = False
    storing = False
    known = False

    def __init__(
        self,
        host: Doorkeeper,
        connection: socket.socket,
        slot: ConnectionSlot,
        *,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.slot = slot
        self.task: asyncio.Task[None] | None = None
        self.waiting_since = asyncio.get_running_loop().time()
        self.patience = min(TIMEOUT, host.patience)
        self._host = host
        self._connection = connection
        self._tls = tls
        self._begun = False
        slot.holder = self

    async def named(self, peer: Address) -> bool:
        """Read the client's address; False if the client is refused a slot, and was told so."""
        header = await header_of(self._connection)
        refusal = self._host.name(self.slot, header.client[0] if header.client else peer)
        if refusal is not None and self._tls is None:
            with suppress(OSError):
                self._connection.send(refusal.wire)
        return refusal is None

    async def begin(self, session: SmtpSession) -> None:
        """Do the TLS handshake, if this port has one, and begin the session."""
        if self._tls is None:
            loop = asyncio.get_running_loop()
            self._begun = True
            await loop.connect_accepted_socket(lambda: session, self._connection)
        else:
            self._begun = await begin_tls(
                self._connection, session, self._tls, session.address, self._host.tools.lines
            )

    def end_without_session(self) -> None:
        """Free the slot and close the socket, unless a session has them."""
        if not self._begun:
            self._connection.close()
            self._host.leave(self.slot)

    def settle(self) -> None:
        """Count nothing: before the session, a connection holds little memory."""

    def end(self, _: Reply) -> None:
        """Close: there is no session yet that could send the reply."""
        self.abort()

    def turn_out(self, _: Reply) -> None:
        """Close."""
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        if self.task is not None:
            self.task.cancel()
