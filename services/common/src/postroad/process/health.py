"""
The HTTP pages of a process: /metrics, /healthz (alive), /readyz (can do its work).

Alive means only that the event loop runs: a process must not be killed because its queue is
unreachable. A process is ready when all its named probes are; a probe returns None, or why not.
"""

import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from postroad.process.http_server import HttpLimits, HttpServer, Request, Response
from postroad.process.sockets import bound_address
from postroad.telemetry import metrics
from postroad.telemetry.exposition import Format, negotiate

Probe = Callable[[], str | None]
# Returns the text of /metrics, for this process or for several.
MetricsPage = Callable[[Format], Awaitable[str]]
# Returns a further page of the process: its HTTP status, and values to be shown as JSON.
PageSource = Callable[[], tuple[int, object]]


class Readiness:
    """Named probes: the process is ready when none of them has a reason why not."""

    def __init__(self) -> None:
        self._probes: dict[str, Probe] = {}

    def add(self, name: str, probe: Probe) -> None:
        """Add a probe; it must be quick, do no I/O and raise nothing."""
        self._probes[name] = probe

    def reasons(self) -> Mapping[str, str]:
        """Return why the process is not ready, by probe; empty when it is ready."""
        return {name: why for name, probe in self._probes.items() if (why := probe()) is not None}

    def checks(self) -> Mapping[str, str]:
        """Return every probe's answer, "ok" or the reason."""
        return {name: probe() or "ok" for name, probe in self._probes.items()}


class HealthServer:
    """The HTTP endpoint of one process."""

    def __init__(
        self,
        listener: socket.socket,
        readiness: Readiness,
        page: MetricsPage,
        pages: Mapping[str, PageSource],
        *,
        limits: HttpLimits | None = None,
    ) -> None:
        self._readiness = readiness
        self._page = page
        self._pages = pages  # by name, looked up at each request
        self.address = bound_address(listener)
        self._server = HttpServer(listener, self._respond, limits)

    async def start(self) -> None:
        """Begin to serve."""
        await self._server.start()

    async def stop(self) -> None:
        """Close the listener and every connection."""
        await self._server.stop()

    async def _respond(self, request: Request) -> Response:
        match request.path.removeprefix("/"):
            case "":
                return self._contents()
            case "metrics":
                wanted = negotiate(request.fields.get("accept", ""))
                text = await self._page(wanted)
                return Response(HTTPStatus.OK, text.encode("utf-8"), wanted.content_type)
            case "healthz":
                return _as_json(HTTPStatus.OK, {"alive": True})
            case "readyz":
                ready = not self._readiness.reasons()
                status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
                return _as_json(status, {"ready": ready, "checks": self._readiness.checks()})
            case name if name in self._pages:
                code, content = self._pages[name]()
                return _as_json(HTTPStatus(code), content)
        return Response(HTTPStatus.NOT_FOUND, b"Not Found; / lists the pages\n")

    def _contents(self) -> Response:
        names = ("metrics", "healthz", "readyz", *self._pages)
        return Response(HTTPStatus.OK, "".join(f"/{name}\n" for name in names).encode())


def _as_json(status: HTTPStatus, content: object) -> Response:
    text = f"{json.dumps(content)}\n"  # with a line end, for curl at a terminal
    return Response(status, text.encode(), "application/json; charset=utf-8")


async def own_page(wanted: Format) -> str:
    """Return this process's own metrics."""
    # On the event loop, though it takes some milliseconds: gauges read the state of other objects,
    # and only on the loop is that state consistent.
    return metrics.exposition(wanted)
