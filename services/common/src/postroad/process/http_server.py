"""
A small HTTP server for the pages of a process: one GET a connection, with strict limits.

Anybody who reaches the port may connect, and must not keep Kubernetes probes or Prometheus out. So
a connection lives for some seconds at most, and when there are too many, the oldest idle one is
closed. A malformed request gets 400 and is not logged.

Why not aiohttp.web: it limits neither connections nor the time that a request may take to arrive,
it tells the versions of Python and of itself, and it logs malformed requests as errors.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import cast

from postroad.telemetry.logs import get_logger

_MAX_HEAD = 8192  # octets, as many as other servers take for a request line and its fields
_END_OF_HEAD = b"\r\n\r\n"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """How many connections there may be at a time, and how long one may live."""

    connections: int = 64
    for_each_address: int = 16
    life: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Request:
    """A request: the path is without its query, the fields are by lower-case name."""

    method: str
    path: str
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """The response to a request."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


RequestHandler = Callable[[Request], Awaitable[Response]]


class MalformedRequest(Exception):
    """The request is malformed or not supported; the status says why."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def parse_request(head: bytes) -> Request:
    """Parse a request's head (RFC 9112 §2 and §3); MalformedRequest when it cannot."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    target, _, version = rest.partition(" ")
    if not method or not version.startswith("HTTP/1.") or not target.startswith("/"):
        raise MalformedRequest(HTTPStatus.BAD_REQUEST)
    if method not in ("GET", "HEAD"):
        raise MalformedRequest(HTTPStatus.METHOD_NOT_ALLOWED)
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise MalformedRequest(HTTPStatus.BAD_REQUEST)
        known = fields.get(name.lower())
        fields[name.lower()] = value.strip() if known is None else f"{known}, {value.strip()}"
    return Request(method, target.partition("?")[0], fields)


class HttpServer:
    """Serves the responses of one handler on a listening socket."""

    def __init__(
        self, listener: socket.socket, handler: RequestHandler, limits: HttpLimits | None = None
    ) -> None:
        self.handler = handler
        self.limits = limits or HttpLimits()
        self._listener = listener
        self._server: asyncio.Server | None = None
        self._open: dict[_Connection, None] = {}  # oldest first

    async def start(self) -> None:
        """Begin to serve."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), sock=self._listener)

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._open):
            connection.abort()

    def enter(self, connection: "_Connection") -> None:
        """Add a connection; if there are too many, close the oldest idle one."""
        same = [each for each in self._open if each.address == connection.address]
        if len(same) >= self.limits.for_each_address:
            _oldest(same).abort()
        elif len(self._open) >= self.limits.connections:
            _oldest(list(self._open)).abort()
        self._open[connection] = None

    def leave(self, connection: "_Connection") -> None:
        """Remove a connection."""
        self._open.pop(connection, None)


def _oldest(connections: "list[_Connection]") -> "_Connection":
    """Return the connection to close: the oldest without a request, else the oldest."""
    return next((each for each in connections if not each.asked), connections[0])


class _Connection(asyncio.Protocol):
    """One connection: it takes one request and closes after the response."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._received = bytearray()
        self._answering: asyncio.Task[None] | None = None
        self.address = ""
        self.asked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        life = self._server.limits.life.total_seconds()
        self._end = asyncio.get_running_loop().call_later(life, self.abort)
        self._server.enter(self)

    def data_received(self, data: bytes) -> None:
        if self.asked:
            return  # one request a connection: the rest is not for us
        self._received += data
        head, end, _ = bytes(self._received).partition(_END_OF_HEAD)
        if not end and len(head) <= _MAX_HEAD:
            return
        self.asked = True
        self._answering = asyncio.ensure_future(self._answer(head, too_long=len(head) > _MAX_HEAD))

    def eof_received(self) -> bool:
        """Stay open for the response if the client closed its half after the request."""
        return self.asked

    def connection_lost(self, error: Exception | None) -> None:
        self._end.cancel()
        self._server.leave(self)
        if self._answering is not None:
            self._answering.cancel()

    def abort(self) -> None:
        """Close the connection at once."""
        self._server.leave(self)
        self._transport.abort()

    async def _answer(self, head: bytes, *, too_long: bool) -> None:
        with_body = True
        try:
            if too_long:
                raise MalformedRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            request = parse_request(head)
            with_body = request.method != "HEAD"
            response = await self._server.handler(request)
        except MalformedRequest as malformed:
            response = Response(malformed.status, f"{malformed}\n".encode())
        except Exception:
            log.exception("an HTTP page failed")
            response = Response(HTTPStatus.INTERNAL_SERVER_ERROR, b"Internal Server Error\n")
        self._transport.write(_written(response, with_body=with_body))
        self._transport.close()


def _written(response: Response, *, with_body: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {response.status.value} {response.status.phrase}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if response.status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head + response.body if with_body else head
