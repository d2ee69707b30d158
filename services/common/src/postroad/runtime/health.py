"""
What a process tells of itself over HTTP: /metrics, /healthz (alive), /readyz (can do its work).

Built on aiohttp.web. A responder of our own on asyncio streams would save 2 MB: nats-py imports
aiohttp anyway (that is 11 MB), and all imports of an ingress together stay at 53 MB of the 80 MB an
idle process may take. For that price an HTTP server that others keep correct is the better deal.

Alive means that the event loop turns, nothing else: a process whose queue is away must not be
killed for it. Ready is the sum of named probes, each a function that returns why not, or None.
"""

import socket
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from postroad.runtime import metrics
from postroad.runtime.sockets import bound_address

Probe = Callable[[], str | None]
# Where the text of /metrics comes from: this process, or several of them.
MetricsPage = Callable[[], Awaitable[str]]
# What a page of the process's own says: a status, and values to be shown as JSON.
Page = Callable[[], tuple[int, object]]


class Readiness:
    """Named probes: the process is ready when none of them has a reason why not."""

    def __init__(self) -> None:
        self._probes: dict[str, Probe] = {}

    def add(self, name: str, probe: Probe) -> None:
        """Ask `probe` from now on; it must be quick, do no I/O and raise nothing."""
        self._probes[name] = probe

    def reasons(self) -> Mapping[str, str]:
        """Return why the process is not ready, by probe; nothing when it is."""
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
        pages: Mapping[str, Page],
    ) -> None:
        self._listener = listener
        self._readiness = readiness
        self._page = page
        self._pages = pages  # by name, looked at anew for each request
        self.address = bound_address(listener)
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/{name}", self._own)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self) -> None:
        """Answer from now on."""
        await self._runner.setup()
        await web.SockSite(self._runner, self._listener).start()

    async def stop(self) -> None:
        """Close the listener and every connection."""
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=(await self._page()).encode("utf-8"),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def _readyz(self, _: web.Request) -> web.Response:
        ready = not self._readiness.reasons()
        body = {"ready": ready, "checks": self._readiness.checks()}
        return web.json_response(body, status=200 if ready else 503)

    async def _own(self, request: web.Request) -> web.Response:
        page = self._pages.get(request.match_info["name"])
        if page is None:
            raise web.HTTPNotFound
        status, content = page()
        return web.json_response(content, status=status)


async def own_page() -> str:
    """Return this process's own metrics."""
    # On the loop, though it takes some milliseconds: gauges read their owners' state while it is
    # written, and only on the loop is that state never half changed.
    return metrics.exposition()
