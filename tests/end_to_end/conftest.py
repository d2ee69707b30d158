"""A whole relay as users run it: `postroad up` in its own folder, next hops on loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from postroad.cli.sink.server import Sink, SinkBehaviour
from postroad.cli.sink.session import SinkProtocol
from postroad.testing.processes.relay import RunningRelay

StartRelay = Callable[..., Awaitable[RunningRelay]]
OpenSink = Callable[..., Awaitable[tuple[Sink, int]]]


@pytest.fixture
async def start_relay(tmp_path: Path) -> AsyncIterator[StartRelay]:
    """Give a function that starts a relay on manifests; every relay ends with the test."""
    running: list[RunningRelay] = []

    async def start(
        manifests: str, *flags: str, state: Path | None = None, **environment: str
    ) -> RunningRelay:
        relay = RunningRelay(tmp_path, manifests, flags, environment)
        relay.state = state / "state" if state is not None else relay.state
        running.append(relay)
        await relay.start()
        return relay

    yield start
    for relay in running:
        await relay.kill()


@pytest.fixture
async def sink_port() -> AsyncIterator[OpenSink]:
    """Give a function that opens a sink and returns it with its port."""
    opened: list[tuple[Sink, asyncio.Server]] = []

    async def open_one(**behaviour: object) -> tuple[Sink, int]:
        sink = Sink(SinkBehaviour(**behaviour))  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SinkProtocol(sink), "127.0.0.1", 0)
        opened.append((sink, server))
        return sink, server.sockets[0].getsockname()[1]

    yield open_one
    for sink, server in opened:
        server.close()
        await sink.hang_up()
