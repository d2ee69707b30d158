"""
TLS to NATS servers: whom a process believes, and nats-py's client with TLS from the first octet.

With a file of authorities a server that does not speak TLS is sent nothing, neither the password
nor mail. The file is read at each connect, so a new authority counts without a restart; connections
that are open go on.

nats-py upgrades a plain connection to TLS. If that fails, as with a certificate that the client
does not believe, it waits for ever for the plain connection to close, and never tries again: a
process would not come back when the certificate does. So the connection is opened with TLS at once.
"""

import asyncio
import contextlib
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import ParseResult

from nats.aio import client as nats_client
from nats.aio.client import Client, Srv
from nats.aio.transport import TcpTransport
from nats.errors import Error


@dataclass(frozen=True, slots=True)
class ServerTrust:
    """Whom to believe that it is the NATS server."""

    authorities: Path | str  # certificates in PEM: their file, or themselves
    name: str | None = None  # in the server's certificate; None: the host in its URL

    def context(self) -> ssl.SSLContext:
        """Read the authorities; OSError (as ssl.SSLError is one) if that fails."""
        if isinstance(self.authorities, Path):
            return ssl.create_default_context(cafile=self.authorities)
        return ssl.create_default_context(cadata=self.authorities)


def end_of(connection: ssl.SSLObject | None) -> datetime | None:
    """Return when the certificate of a connection's server ends, None without TLS."""
    told = connection.getpeercert() if connection is not None else None
    if not told:
        return None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(told["notAfter"])), UTC)


class TlsTransport(TcpTransport):
    """A connection to a server that is believed."""

    def __init__(self, trust: ServerTrust) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._trust = trust

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """Connect; OSError (as ssl.SSLError is one) if the server is not believed."""
        opening = asyncio.open_connection(
            uri.hostname,
            uri.port,
            limit=buffer_size,
            ssl=self._trust.context(),
            server_hostname=self._trust.name or uri.hostname,
        )
        reader, writer = await asyncio.wait_for(opening, connect_timeout)
        self._bare_io_reader = self._io_reader = reader
        self._bare_io_writer = self._io_writer = writer

    async def connect_tls(
        self,
        uri: str | ParseResult,
        ssl_context: ssl.SSLContext,
        buffer_size: int,
        connect_timeout: int,
    ) -> None:
        """Do nothing: the connection has TLS."""

    async def wait_closed(self) -> None:
        """Wait for the end; how a lost connection ended is no news, and would hide why."""
        with contextlib.suppress(ConnectionError):
            await super().wait_closed()  # type: ignore[no-untyped-call]


class TlsClient(Client):
    """nats-py's client, which believes a server only by its certificate if it is told whom."""

    def __init__(self, trust: ServerTrust | None) -> None:
        """Take whom to believe; without, connections are in clear."""
        super().__init__()
        self._trust = trust

    async def _connect_to_server(self, s: Srv) -> None:
        """Connect as nats-py does, or with TLS."""
        if self._trust is None:
            await super()._connect_to_server(s)
            return
        s.last_attempt = time.monotonic()
        transport = TlsTransport(self._trust)
        timeout = self.options["connect_timeout"]
        await transport.connect(s.uri, nats_client.DEFAULT_BUFFER_SIZE, timeout)
        self._transport = transport

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """Whom to believe; an error when a server asks for TLS and nobody is named."""
        if self._trust is None:
            raise Error("the server wants TLS, and no file of authorities is set")
        return self._trust.context()

    def certificate_end(self) -> datetime | None:
        """Return when the certificate of the connected server ends, None without TLS."""
        writer = getattr(self._transport, "_io_writer", None)
        return end_of(writer.get_extra_info("ssl_object")) if writer is not None else None

    async def _process_connect_init(self) -> None:
        """
        Greet the server and log in.

        With TLS, the end of a connection on which the login was refused may be seen before the
        reason: nats-py goes on to write before it reads.
        """
        try:
            await super()._process_connect_init()
        except ConnectionError as error:
            if self._trust is None:
                raise
            raise Error(
                f"the server refuses the login (Authorization Violation): {error}"
            ) from error
