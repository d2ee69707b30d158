"""
Listeners behind a load balancer: who the client is stands in a PROXY header, before all else.

The header is read off the socket before there is a session, octet for octet and none more: with TLS
from the first byte, what follows it belongs to the handshake. Only balancers in the trusted
networks are heard; whoever else connects, says no header, or not in time, is cut off without a
reply, for a reply would go to somebody who is not the client.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from postroad.ingress import metrics
from postroad.ingress.admission import ListenerKind
from postroad.ingress.proxy_header import (
    LONGEST,
    Address,
    MalformedHeader,
    ProxyHeader,
    read_header,
)
from postroad.ingress.session import SmtpSession, address_of
from postroad.runtime.log_limit import LineLimit, network_of
from postroad.runtime.logs import get_logger
from postroad.runtime.quantities import Network

log = get_logger("ingress.proxied")

HEADER_TIMEOUT = 5.0  # seconds
_HANDSHAKE_TIMEOUT = 30.0  # seconds
_PAUSE = 1.0  # seconds without accepting, when there are no file descriptors left

# Given the client that a header names, makes its session.
MakeSession = Callable[[tuple[Address, int] | None], SmtpSession]


class _Refused(Exception):
    """The connection is closed, counted for `reason`."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class ProxiedListener:
    """One such listener: sessions begin once their header is read."""

    def __init__(
        self,
        kind: ListenerKind,
        listener: socket.socket,
        make_session: MakeSession,
        *,
        trusted: Iterable[Network],
        tls: ssl.SSLContext | None,
        at_once: int,
        lines: LineLimit,
    ) -> None:
        self._kind = kind
        self._listener = listener
        self._make_session = make_session
        self._trusted = tuple(trusted)
        self._tls = tls
        self._at_once = at_once
        self._lines = lines
        self._accepting: asyncio.Task[None] | None = None
        self._beginning: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Accept from now on."""
        self._accepting = asyncio.create_task(self._accept())

    def close(self) -> None:
        """Accept no more; connections without a session yet are cut off."""
        for task in (self._accepting, *self._beginning):
            if task is not None:
                task.cancel()
        self._listener.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(self._listener)
            except OSError as error:
                log.error("no connection can be accepted", error=str(error))
                await asyncio.sleep(_PAUSE)
                continue
            task = asyncio.create_task(self._begin(connection, address_of(peer)))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _begin(self, connection: socket.socket, peer: Address) -> None:
        try:
            header = await self._header(connection, peer)
        except _Refused as refusal:
            connection.close()
            metrics.PROXY_REFUSED.labels(refusal.reason).inc()
            left_out = self._lines.admit("PROXY", network_of(peer))
            if left_out is not None:
                log.warning(
                    "a proxied connection is refused",
                    peer=str(peer),
                    listener=self._kind.value,
                    reason=refusal.reason,
                    error=str(refusal),
                    left_out=left_out,
                )
        except ConnectionError:
            connection.close()  # a balancer that looks whether the port is open
        except BaseException:
            connection.close()
            raise
        else:
            await self._hand_over(connection, header)

    async def _header(self, connection: socket.socket, peer: Address) -> ProxyHeader:
        if not any(peer in network for network in self._trusted):
            raise _Refused("untrusted", "the peer is in none of POSTROAD_PROXY_TRUSTED")
        if len(self._beginning) > self._at_once:
            raise _Refused("connections", "too many connections have no header yet")
        try:
            async with asyncio.timeout(HEADER_TIMEOUT):
                return await _read(connection)
        except TimeoutError as error:
            raise _Refused("incomplete", f"no header in {HEADER_TIMEOUT:g} s") from error
        except MalformedHeader as error:
            raise _Refused("malformed", str(error)) from error

    async def _hand_over(self, connection: socket.socket, header: ProxyHeader) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: self._make_session(header.client),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=_HANDSHAKE_TIMEOUT if self._tls else None,
            )
        except OSError as error:  # ssl.SSLError and the connection's end are such
            left_out = self._lines.admit("TLS", _text(header.client))
            if left_out is not None:
                log.info(
                    "a TLS handshake failed",
                    peer=_text(header.client),
                    error=str(error),
                    left_out=left_out,
                )


async def _read(connection: socket.socket) -> ProxyHeader:
    """Take the header off the socket, and nothing of what follows it."""
    octets = b""
    while True:
        await _readable(connection)
        peeked = connection.recv(LONGEST, socket.MSG_PEEK)
        if not peeked:
            if octets:
                raise MalformedHeader("the connection ended within it")
            raise ConnectionResetError("closed before a header")
        header = read_header(octets + peeked)
        if header is not None:
            connection.recv(header.length - len(octets))
            return header
        octets += connection.recv(len(peeked))  # all of it belongs to the header


def _readable(connection: socket.socket) -> Coroutine[Any, Any, None]:
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)

    loop.add_reader(connection, wake)

    async def wait() -> None:
        try:
            await waiter
        finally:
            loop.remove_reader(connection)

    return wait()


def _text(client: tuple[Address, int] | None) -> str:
    return str(client[0]) if client is not None else ""
