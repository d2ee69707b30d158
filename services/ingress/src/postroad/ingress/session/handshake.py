"""
The TLS handshake of every port, counted in one place and with its alert.

asyncio and uvloop close a connection whose handshake failed without writing what OpenSSL left for
the peer, so that it reads an unexpected end where RFC 8446 §6.2 promises it the reason. Both make
their TLS object by the context's `wrap_bio`: the one given to them here writes the alert itself.
"""

import asyncio
import os
import socket
import ssl
from contextlib import suppress
from typing import Any, cast

from postroad.ingress import metrics
from postroad.mail.ip_address import Address
from postroad.process.tls import TlsObject
from postroad.telemetry.log_limit import LineLimit, network_of
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

TIMEOUT = 30.0  # seconds
SCARCE_TIMEOUT = 10.0  # while slots are scarce
_SHUTDOWN = 5.0  # seconds in which a client may answer close_notify

_SUCCEEDED = metrics.TLS_HANDSHAKES.labels("succeeded")
_FAILED = metrics.TLS_HANDSHAKES.labels("failed")
_ABANDONED = metrics.TLS_HANDSHAKES.labels("abandoned")


class _ServerSide(TlsObject):
    """A TLS object that says why it ends its handshake."""

    outgoing: ssl.MemoryBIO
    descriptor: int

    def do_handshake(self) -> None:
        """Go on with the handshake; write the alert of one that fails."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            with suppress(OSError):  # the alert is a courtesy
                os.write(self.descriptor, self.outgoing.read())
            raise


class _ContextOf:
    """The server's context as one connection sees it; SSLContext itself is shared by all."""

    # What the event loops ask for with isinstance.
    __class__ = ssl.SSLContext  # type: ignore[assignment]

    def __init__(self, context: ssl.SSLContext, descriptor: int) -> None:
        self._context = context
        self._descriptor = descriptor

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **options: Any
    ) -> ssl.SSLObject:
        """Make the TLS object of the connection."""
        self._context.sslobject_class = _ServerSide
        made = cast(_ServerSide, self._context.wrap_bio(incoming, outgoing, **options))
        made.outgoing, made.descriptor = outgoing, self._descriptor
        return made


async def begin_tls(
    connection: socket.socket,
    protocol: asyncio.BaseProtocol,
    context: ssl.SSLContext,
    peer: Address,
    lines: LineLimit,
) -> bool:
    """
    Shake hands on a connection that has TLS from its first byte; return whether that was done.

    The protocol hears of its connection when it was.
    """
    bound = _ContextOf(context, connection.fileno())
    with _Counted(peer, lines) as counted:
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: protocol,
            connection,
            ssl=cast(ssl.SSLContext, bound),
            ssl_handshake_timeout=TIMEOUT,
            ssl_shutdown_timeout=_SHUTDOWN,
        )
        counted.transport = transport
    return counted.done


async def start_tls(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    peer: Address,
    lines: LineLimit,
) -> asyncio.Transport | None:
    """Shake hands on a connection that was in clear; return its transport under TLS, or None."""
    bound = _ContextOf(context, transport.get_extra_info("socket").fileno())
    with _Counted(peer, lines) as counted:
        counted.transport = await asyncio.get_running_loop().start_tls(
            transport,
            protocol,
            cast(ssl.SSLContext, bound),
            server_side=True,
            ssl_handshake_timeout=TIMEOUT,
            ssl_shutdown_timeout=_SHUTDOWN,
        )
    return counted.transport if counted.done else None


class _Counted:
    """
    Counts a handshake by its end, and logs one that failed.

    A client that closes before the handshake fails has given it up: load balancers that look
    whether a port is open do so all day, and that is no news.
    """

    def __init__(self, peer: Address, lines: LineLimit) -> None:
        self.transport: asyncio.Transport | None = None
        self._peer = peer
        self._lines = lines

    @property
    def done(self) -> bool:
        """Whether there is TLS: the loops may return when the connection is lost."""
        transport = self.transport
        return transport is not None and transport.get_extra_info("cipher") is not None

    def __enter__(self) -> "_Counted":
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if error is None:
            (_SUCCEEDED if self.done else _ABANDONED).inc()
            return False
        if isinstance(error, ConnectionResetError | BrokenPipeError | asyncio.CancelledError):
            _ABANDONED.inc()
        elif isinstance(error, OSError):  # ssl.SSLError is one, so is a time-out
            _FAILED.inc()
            self._tell(error)
        return isinstance(error, OSError)

    def _tell(self, error: OSError) -> None:
        left_out = self._lines.admit("TLS", network_of(self._peer))
        if left_out is not None:
            log.info(
                "a TLS handshake failed",
                peer=str(self._peer),
                error=str(error),
                left_out=left_out,
            )
