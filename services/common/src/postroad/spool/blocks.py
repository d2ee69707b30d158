"""
nats-py's connection to a server, reading blocks as large as they come.

nats-py reads through asyncio's streams, 32 KiB at a time: each block is copied six times on its way
to the message it is part of, and the socket is stopped and started twice for a message of 100 KiB.
Here a block is what the event loop has read, and goes to the parser as it is.
"""

import asyncio
import ssl
from collections import deque
from typing import cast
from urllib.parse import ParseResult

from nats.aio.transport import Transport

# Octets read and not yet parsed, at which the server is made to wait.
_HIGH_WATER = 1024 * 1024
_LINGER = 2.0  # seconds in which a closed connection may write what is buffered


class _Blocks(asyncio.Protocol):
    """The blocks that have come, and whether the server takes what is written."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._blocks: deque[bytes] = deque()
        self._octets = 0
        self._ended = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._paused = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # ------------------------------------------------------------ the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Keep a block."""
        self._blocks.append(data)
        self._octets += len(data)
        if self._octets > _HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> bool:
        """The server will say nothing more."""
        self._ended = True
        _wake(self._reader)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._ended, self._error = True, error
        _wake(self._reader)
        _wake(self._writer)
        _wake(self.closed)

    def pause_writing(self) -> None:
        """The server reads slowly."""
        self._writer = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """The server reads again."""
        _wake(self._writer)
        self._writer = None

    # ------------------------------------------------------------ for the client

    @property
    def at_eof(self) -> bool:
        """Whether all was read that will ever come."""
        return self._ended and not self._blocks and self._error is None

    async def read(self) -> bytes:
        """Return what has come, waiting for something; b"" at the end, OSError when it is lost."""
        while not self._blocks:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        data = self._blocks.popleft() if len(self._blocks) == 1 else b"".join(self._blocks)
        self._blocks.clear()
        self._octets = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def readline(self) -> bytes:
        """Return a line with its end, or what there is before the connection ends."""
        line = b""
        while b"\n" not in line:
            more = await self.read()
            if not more:
                return line
            line += more
        end = line.index(b"\n") + 1
        if line[end:]:
            self._blocks.appendleft(line[end:])
            self._octets += len(line) - end
        return line[:end]

    async def drain(self) -> None:
        """Wait while the server reads more slowly than we write; OSError when it is lost."""
        if self._writer is not None:
            await asyncio.shield(self._writer)  # several wait for it, and one may be cancelled
        if self.closed.done():
            raise self._error or ConnectionResetError("the connection was closed")


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


class BlockTransport(Transport):
    """Implements nats-py's Transport over TCP, and over TLS after it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._blocks: _Blocks | None = None

    def __bool__(self) -> bool:
        # nats-py asks whether it has to make a transport of its own.
        return True

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """Connect to a server, in seconds; `buffer_size` is the loop's."""
        self._abandon()
        loop = asyncio.get_running_loop()
        connecting = loop.create_connection(_Blocks, uri.hostname or "", uri.port or 4222)
        self._transport, self._blocks = await asyncio.wait_for(connecting, connect_timeout)

    async def connect_tls(
        self,
        uri: str | ParseResult,
        ssl_context: ssl.SSLContext,
        buffer_size: int,
        connect_timeout: int,
    ) -> None:
        """Shake hands on the connection."""
        assert self._transport is not None
        blocks = _Blocks()
        shaking = asyncio.get_running_loop().start_tls(
            self._transport,
            blocks,
            ssl_context,
            server_hostname=uri if isinstance(uri, str) else uri.hostname,
        )
        try:
            transport = await asyncio.wait_for(shaking, connect_timeout)
            if transport is None:
                raise ConnectionError("the connection was lost in its TLS handshake")
        except BaseException:
            self._abandon()
            raise
        blocks.connection_made(transport)
        self._transport, self._blocks = transport, blocks

    def _abandon(self) -> None:
        """Drop what is left: nats-py connects again without closing a connection that failed."""
        if self._transport is not None:
            self._transport.abort()
        if self._blocks is not None:
            _wake(self._blocks.closed)  # after a handshake that failed nobody tells it

    def write(self, payload: bytes) -> None:
        """Write."""
        assert self._transport is not None
        self._transport.write(payload)

    def writelines(self, payload: list[bytes]) -> None:
        """Write several."""
        assert self._transport is not None
        self._transport.writelines(payload)

    async def read(self, buffer_size: int) -> bytes:
        """Return what has come, however much; OSError when the connection is lost."""
        assert self._blocks is not None
        return await self._blocks.read()

    async def readline(self) -> bytes:
        """Return the next line."""
        assert self._blocks is not None
        return await self._blocks.readline()

    async def drain(self) -> None:
        """Wait while the server reads slowly."""
        assert self._blocks is not None
        await self._blocks.drain()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone; one whose end does not come is dropped."""
        if self._blocks is not None:
            await asyncio.wait([self._blocks.closed], timeout=_LINGER)
            self._abandon()

    def close(self) -> None:
        """Close, writing what is buffered."""
        if self._transport is not None:
            self._transport.close()

    def at_eof(self) -> bool:
        """Whether all was read that will ever come."""
        return self._blocks is None or self._blocks.at_eof
