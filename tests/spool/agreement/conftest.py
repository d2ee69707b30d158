"""A nats-server with the buckets, and connections to it, one for each process a test plays."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext

sys.path.insert(0, "/tmp/c_exp")
from shim import NatsServer, provision


@dataclass
class PlainLink:
    client: Client
    jetstream: JetStreamContext


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as running:
        await provision(running.url)
        yield running


@pytest.fixture
async def open_link(server: NatsServer) -> AsyncIterator[Callable[[], Awaitable[PlainLink]]]:
    opened: list[Client] = []

    async def quiet(error: Exception) -> None:
        pass

    async def open_one() -> PlainLink:
        client = await nats.connect(server.url, error_cb=quiet, reconnect_time_wait=0.1, max_reconnect_attempts=-1)
        opened.append(client)
        return PlainLink(client, client.jetstream())

    yield open_one
    for client in opened:
        await client.close()


@pytest.fixture
async def link(open_link: Callable[[], Awaitable[PlainLink]]) -> PlainLink:
    return await open_link()
