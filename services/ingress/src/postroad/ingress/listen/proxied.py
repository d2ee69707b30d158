"""
The PROXY header of a load balancer's connection, read from the socket before there is a transport.

Exactly the header is read and no octet more: on the port with implicit TLS, what follows belongs to
the handshake. A peer that sends no header, or not in time, is cut off without a reply, because the
reply would go to somebody who is not the client.
"""

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

from postroad.smtp.server.proxy_header import LONGEST, MalformedHeader, ProxyHeader, read_header

HEADER_TIMEOUT = 5.0  # seconds


class NoHeader(Exception):
    """There is no valid header: cut the connection off; `reason` is the metric's label."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


async def header_of(connection: socket.socket) -> ProxyHeader:
    """Read the header from a socket; NoHeader, or ConnectionError if the peer just closes."""
    try:
        async with asyncio.timeout(HEADER_TIMEOUT):
            return await _read(connection)
    except TimeoutError as error:
        raise NoHeader("incomplete", f"no header in {HEADER_TIMEOUT:g} s") from error
    except MalformedHeader as error:
        raise NoHeader("malformed", str(error)) from error


async def _read(connection: socket.socket) -> ProxyHeader:
    """Read the header from the socket, and nothing of what follows it."""
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
