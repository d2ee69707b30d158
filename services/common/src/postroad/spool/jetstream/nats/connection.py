"""
A process's connection to NATS, replaced when nats-py closes it for good.

nats-py reconnects after a lost connection, but some errors close its client for good (a payload
over the server's limit, a revoked password). Then a new client is created, and the owners of
subscriptions are told to subscribe again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import nats.errors
from nats.js import JetStreamContext

from postroad.process.background.backoff import Backoff
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.nats.client import FastClient
from postroad.spool.jetstream.nats.tls import ServerTrust
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_RECONNECT_PAUSE = 0.2  # seconds
_BACKOFF = Backoff(timedelta(seconds=0.2), timedelta(seconds=2))  # of new clients
_PING_INTERVAL = 10  # seconds: a half-open connection is noticed after two
_PENDING = 16 * 1024 * 1024  # octets written while the connection is away
_FIRST_CONNECT = timedelta(seconds=10)
_TELL_EVERY = 10.0  # seconds between log lines about a missing connection
_LAST = 2.0  # seconds for each step of closing: writing the buffer, ending the connection
_FORBIDDEN = "permissions violation"

API_PREFIX = "$JS.API"  # of the subjects of JetStream's API, in the account that has JetStream


@dataclass(frozen=True, slots=True)
class Access:
    """The servers, and this process's login."""

    servers: tuple[str, ...]
    name: str = "postroad"
    token: str | None = None
    user: str | None = None
    password: str | None = None
    inbox_prefix: str = "_INBOX"
    api_prefix: str = API_PREFIX
    trust: ServerTrust | None = None  # None: connections are in clear
    server_uid: int | None = None  # the user that must run the servers on this machine; None: any


class NatsLink:
    """The current connection."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._client: FastClient | None = None
        self._jetstream: JetStreamContext | None = None
        self._listeners: list[Callable[[], Awaitable[None]]] = []
        self._reconnected: list[Callable[[], None]] = []
        self._closing = False
        self._last_error = ""
        self._silent_until = 0.0  # loop time; a start may wait for the servers for long
        self._rebuilding: asyncio.Task[None] | None = None
        self._tasks = BackgroundTasks(INTERNAL_ERRORS)

    @property
    def client(self) -> FastClient:
        """The current client; SpoolUnavailable before the first connect."""
        if self._client is None:
            raise SpoolUnavailable("not connected to NATS")
        return self._client

    @property
    def jetstream(self) -> JetStreamContext:
        """JetStream through that client."""
        if self._jetstream is None:
            raise SpoolUnavailable("not connected to NATS")
        return self._jetstream

    @property
    def api(self) -> str:
        """The prefix of the subjects of JetStream's API, which the process's account decides."""
        return self._access.api_prefix

    @property
    def connected(self) -> bool:
        """Whether the connection is up."""
        return self._client is not None and self._client.is_connected

    async def on_client(self, listener: Callable[[], Awaitable[None]]) -> None:
        """Call `listener` now and for each new client, to subscribe on it."""
        self._listeners.append(listener)
        if self._client is not None:
            await listener()

    def on_reconnect(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each reconnect: earlier requests will get no answers."""
        self._reconnected.append(listener)

    async def open(self, *, timeout: timedelta = _FIRST_CONNECT) -> None:
        """Connect for the first time; SpoolUnavailable when no server answers in time."""
        connecting = asyncio.create_task(self._connect())
        try:
            await asyncio.wait((connecting,), timeout=timeout.total_seconds())
            if connecting.done():
                connecting.result()
                return
        except (TimeoutError, OSError, nats.errors.Error) as error:
            raise SpoolUnavailable(f"no NATS server answers: {error}") from error
        finally:
            await _ended(connecting)
        raise SpoolUnavailable(f"no NATS server answers: {self._last_error or 'timeout'}")

    async def _connect(self) -> None:
        access = self._access
        options: dict[str, Any] = {
            "token": access.token,
            "user": access.user,
            "password": access.password,
            "tls_hostname": access.trust.name if access.trust else None,
        }
        client = FastClient(server_uid=access.server_uid, trust=access.trust)
        try:
            await client.connect(
                servers=list(access.servers),
                name=access.name,
                inbox_prefix=access.inbox_prefix.encode(),
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=_RECONNECT_PAUSE,  # type: ignore[arg-type]  # fractions will do
                connect_timeout=2,
                ping_interval=_PING_INTERVAL,
                pending_size=_PENDING,
                tls_handshake_first=access.trust is not None,
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnect,
                reconnected_cb=self._on_reconnect,
                closed_cb=self._on_closed,
                **{name: value for name, value in options.items() if value is not None},
            )
        except BaseException:
            client.drop()  # what it had begun with a server that does not answer as it should
            raise
        self._client = client
        self._jetstream = client.jetstream(timeout=5, prefix=access.api_prefix)
        for listener in self._listeners:
            await listener()

    async def _on_error(self, error: Exception) -> None:
        text = self._last_error = str(error) or type(error).__name__
        if _FORBIDDEN in text.lower():
            # The request will get no answer: without this line, the log has only a timeout.
            log.error(
                "NATS forbids what this process has to do; its user needs other permissions",
                user=self._access.user or "none",
                error=text,
            )
        elif not self.connected and self._tells():
            log.warning("no connection to NATS yet", error=text)
        else:
            log.debug("nats reports an error", error=text)

    def _tells(self) -> bool:
        """Whether to log again that there is no connection: every 10 s."""
        now = asyncio.get_running_loop().time()
        if now < self._silent_until:
            return False
        self._silent_until = now + _TELL_EVERY
        return True

    async def _on_disconnect(self) -> None:
        if not self._closing:
            log.warning("the connection to NATS is lost")

    async def _on_reconnect(self) -> None:
        log.info("connected to NATS again")
        for listener in self._reconnected:
            listener()

    async def _on_closed(self) -> None:
        if not self._closing and (self._rebuilding is None or self._rebuilding.done()):
            log.error("NATS closed the connection for good; connecting again")
            self._rebuilding = self._tasks.keep(self._rebuild)

    async def _rebuild(self) -> None:
        failures = 0
        while not self._closing:
            try:
                await self._connect()
            except (OSError, nats.errors.Error) as error:
                log.warning("no new connection to NATS yet", error=str(error))
                failures += 1
                await asyncio.sleep(_BACKOFF.seconds(failures, random))
            else:
                await self._on_reconnect()
                return

    async def close(self) -> None:
        """Write what is buffered and disconnect."""
        self._closing = True
        await self._tasks.cancel()
        client = self._client
        if client is None or client.is_closed:
            return
        if client.is_connected:
            await _in_time(client.flush())
        await _in_time(client.close())
        client.drop()


async def _in_time(last: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(_LAST):
            await last
    except (TimeoutError, OSError, RuntimeError, nats.errors.Error) as error:
        # RuntimeError: nats-py writes to uvloop's transport, which is closed already.
        log.debug("the connection was not closed cleanly", error=str(error))


async def _ended(task: "asyncio.Task[None]") -> None:
    """End a task of nats-py, which may lose a cancellation that comes when a connect fails."""
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=0.1)
