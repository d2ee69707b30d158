"""
The network under sessions: the only socket code of the client.

A connection is one protocol object whose octets are read as they come, so that an idle one notices
when its peer hangs up. Errors come out as one small tree; no OSError passes this module.
"""

import asyncio
import errno
import ipaddress
import os
import socket
import ssl
import time
from typing import cast

from postroad.mail.address import is_number, normalise_domain
from postroad.mail.errors import AddressSyntaxError
from postroad.process.descriptors import LACKS, is_own_lack
from postroad.process.tls import client_context

_HIGH_WATER = 64 * 1024  # octets written and not yet gone, at which the writer waits
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_AT_ONCE = 2.0  # seconds: what takes longer is the word of a router far away
_MOST_UNREAD = 64 * 1024  # octets that a host may say unasked, before it is made to wait


class NetworkError(Exception):
    """A connection could not be made, or was lost; the text says how."""


class HostUnreachable(NetworkError):
    """No packet could be sent to the address: it says nothing about who is there."""


class OwnLack(NetworkError):
    """This machine has no file descriptor left: it says nothing about any host, nor about mail."""


class SourceUnusable(HostUnreachable):
    """This machine does not have the source address: it says nothing about any host."""


class TlsFailed(NetworkError):
    """The TLS handshake failed, or the certificate is not the one it has to be."""


class Connection(asyncio.Protocol):
    """
    One TCP connection, perhaps under TLS.

    `gone` is done once its socket is closed: a peer counts a connection until then, and so do we.
    `moved_at`: when its peer last said something, or read what had piled up, by time.monotonic.
    """

    def __init__(self) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._lost: str | None = None
        self._tls_fault = False
        self._closes: asyncio.TimerHandle | None = None
        self._reading_paused = False
        self.moved_at = time.monotonic()

    # ------------------------------------------------------------ the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        """Take octets."""
        self.moved_at = time.monotonic()
        self._received += data
        if len(self._received) > _MOST_UNREAD and not self._reading_paused and self._transport:
            self._reading_paused = True
            self._transport.pause_reading()
        self._wake_reader()

    def eof_received(self) -> bool:
        """The peer will say nothing more."""
        self._lost = self._lost or "the peer closed the connection"
        self._wake_reader()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        # TLS 1.3: what is wrong with a handshake may be told only behind it.
        self._tls_fault |= isinstance(error, ssl.SSLError)
        self._lost = self._lost or (_reason(error) if error else "the connection was closed")
        self._wake_reader()
        self.resume_writing()
        self._went()

    def pause_writing(self) -> None:
        """The peer reads slowly: writers wait."""
        self._writer = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self.moved_at = time.monotonic()
        writer, self._writer = self._writer, None
        if writer is not None and not writer.done():
            writer.set_result(None)

    def _wake_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None and not reader.done():
            reader.set_result(None)

    # ------------------------------------------------------------ for the session

    @property
    def usable(self) -> bool:
        """Whether nothing has been said and nothing was lost since the last read."""
        return self._lost is None and not self._received

    @property
    def tls(self) -> str:
        """The TLS version and cipher, "" without TLS."""
        found = self._transport.get_extra_info("ssl_object") if self._transport else None
        cipher = found.cipher() if found is not None else None
        return f"{cipher[1]} {cipher[0]}" if cipher else ""

    async def read(self, timeout: float) -> bytes:
        """
        Return what has come, waiting `timeout` seconds for something.

        NetworkError when nothing will come, TimeoutError when nothing came in time; TlsFailed when
        TLS broke down.
        """
        while not self._received:
            if self._lost is not None:
                raise self._loss()
            loop = asyncio.get_running_loop()
            reader = self._reader = loop.create_future()
            # A timer on the future itself: asyncio.timeout costs twice as much.
            timer = loop.call_later(timeout, _give_up, reader)
            try:
                await reader
            finally:
                timer.cancel()
        data = bytes(self._received)
        self._received.clear()
        if self._reading_paused and self._transport and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()
        return data

    def write(self, *parts: bytes | memoryview) -> None:
        """Write, all parts as one; NetworkError when the connection is lost."""
        if self._lost is not None or self._transport is None:
            raise self._loss()
        self._transport.writelines(parts)

    async def drained(self) -> None:
        """Wait while the peer reads more slowly than we write."""
        while self._writer is not None:
            # Whoever waits for a limited time cancels its wait, and then waits again.
            await asyncio.shield(self._writer)
        if self._lost is not None and not self._received:
            raise self._loss()

    def _loss(self) -> NetworkError:
        kind = TlsFailed if self._tls_fault else NetworkError
        return kind(self._lost or "not connected")

    async def start_tls(
        self, host: str, *, verify: bool, timeout: float, ca_file: str | None = None
    ) -> None:
        """Shake hands as a client; TlsFailed when that fails."""
        assert self._transport is not None
        name = server_name(host, verify=verify)
        if verify and name is None:
            raise TlsFailed(f"no TLS with {host}: no certificate is for such a name")
        try:
            transport = await asyncio.get_running_loop().start_tls(
                self._transport,
                self,
                client_context(verify=verify, ca_file=ca_file),
                server_hostname=name,
                ssl_handshake_timeout=timeout,
            )
        except (OSError, ssl.SSLError, ssl.CertificateError) as error:
            raise TlsFailed(f"no TLS with {host}: {_reason(error)}") from error
        if transport is None:
            raise TlsFailed(f"no TLS with {host}: the connection was lost")
        self._transport = transport
        # The TCP connection under it has as much again, for which this does not wait.
        transport.set_write_buffer_limits(high=_HIGH_WATER)

    def close(self, *, within: float) -> None:
        """Close, writing what is buffered and ending TLS, in so many seconds at most."""
        if self._transport is not None and not self.gone.done() and self._closes is None:
            self._closes = asyncio.get_running_loop().call_later(within, self.abort)
            self._transport.close()

    def abort(self) -> None:
        """Close at once: what is buffered is thrown away."""
        if self._transport is not None and not self.gone.done():
            self._transport.abort()
            # Behind the closing of the socket. A handshake that failed tells nobody that it is.
            asyncio.get_running_loop().call_soon(self._went)

    def _went(self) -> None:
        if self._closes is not None:
            self._closes.cancel()
        if not self.gone.done():
            self.gone.set_result(None)


def _give_up(reader: "asyncio.Future[None]") -> None:
    if not reader.done():
        reader.set_exception(TimeoutError())


def server_name(host: str, *, verify: bool) -> str | None:
    """
    Return what a handshake calls the host: a host name, or an IP address, which is not in SNI.

    None for what RFC 6066 §3 has no room for, such as a name with an underscore. Names with one
    are used inside networks; `verify` needs the name that the certificate has, so they stay then.
    """
    literal = host[1:-1].removeprefix("IPv6:") if host.startswith("[") else host
    try:
        return str(ipaddress.ip_address(literal))
    except ValueError:
        pass
    try:
        name = normalise_domain(host)
    except AddressSyntaxError:
        return None
    return None if is_number(name) or ("_" in name and not verify) else name


async def connect(
    address: str, port: int, *, source: str | None = None, timeout: float
) -> Connection:
    """Connect to an IP address; NetworkError says why it cannot be."""
    loop = asyncio.get_running_loop()
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout):
            _, connection = await loop.create_connection(
                Connection, address, port, local_addr=(source, 0) if source else None
            )
    except TimeoutError as error:
        raise NetworkError(f"no connection in {timeout:g} s") from error
    except OSError as error:
        if source is not None and error.errno in _NO_ROUTE and _is_missing(source):
            raise SourceUnusable(f"source address {source}: {os.strerror(error.errno)}") from error
        if is_own_lack(error):
            LACKS.tell(error)
            raise OwnLack(_reason(error)) from error
        if error.errno in _NO_ROUTE and time.monotonic() - began < _AT_ONCE:
            raise HostUnreachable(_reason(error)) from error
        raise NetworkError(_reason(error)) from error
    return connection


def _is_missing(source: str) -> bool:
    """Whether no socket can be bound to an address of this machine."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((source, 0))
    except OSError as error:
        return error.errno in _NO_ROUTE
    return False


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
