"""A provisioned nats-server, and a connection for each process that a test plays."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from nats.js import JetStreamContext

from postroad.spool.jetstream.nats.client import FastClient
from postroad.spool.jetstream.nats.connection import API_PREFIX
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.testing.queue.accounts import as_role
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import QUICK
from postroad.testing.queue.walls import Servers, walled

ACCOUNTS = Path(__file__).parents[2] / "charts" / "postroad" / "files" / "nats-accounts.conf"
OpenJetStream = Callable[..., Awaitable[JetStreamSpool]]


@dataclass
class PlainLink:
    """A connection that is not made anew when it is closed."""

    client: FastClient
    jetstream: JetStreamContext
    api: str = API_PREFIX


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as running:
        await provision(SpoolOptions(servers=(running.url,)), layout=SINGLE_MACHINE)
        yield running


@pytest.fixture
async def open_link(server: NatsServer) -> AsyncIterator[Callable[[], Awaitable[PlainLink]]]:
    opened: list[FastClient] = []

    async def quiet(_: Exception) -> None:
        pass

    async def open_one() -> PlainLink:
        client = FastClient()
        await client.connect(
            server.url,
            error_cb=quiet,
            reconnect_time_wait=0.1,  # type: ignore[arg-type] # any number of seconds will do
            max_reconnect_attempts=-1,
        )
        opened.append(client)
        return PlainLink(client, client.jetstream())

    yield open_one
    for client in opened:
        await client.close()


@pytest.fixture
async def link(open_link: Callable[[], Awaitable[PlainLink]]) -> PlainLink:
    return await open_link()


@pytest.fixture
async def open_spool(server: NatsServer) -> AsyncIterator[OpenJetStream]:
    """Give a function that opens one more process's spool; all of them run on quick timings."""
    opened: list[JetStreamSpool] = []

    async def open_one(**options: object) -> JetStreamSpool:
        plain = SpoolOptions(servers=(server.url,), process=f"process-{len(opened)}", timings=QUICK)
        opened.append(await connect(replace(plain, **options)))  # type: ignore[arg-type]
        return opened[-1]

    yield open_one
    for spool in opened:
        await spool.close()


@pytest.fixture
async def operator(open_spool: OpenJetStream) -> JetStreamSpool:
    """An operator, which makes the bucket of sessions again when the server has forgotten it."""
    return await open_spool(role="operator", process="operator")


@pytest.fixture
async def spool(open_spool: OpenJetStream) -> JetStreamSpool:
    return await open_spool()


# A server with the chart's accounts, and processes of the roles that pass mail on.


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    async with walled(tmp_path, ACCOUNTS, replicas=1) as running:
        yield running


@pytest.fixture
async def ingress(servers: Servers) -> AsyncIterator[JetStreamSpool]:
    spool = await connect(as_role("ingress", servers.servers[0].url, timings=QUICK))
    yield spool
    await spool.close()


@pytest.fixture
async def delivery(servers: Servers) -> AsyncIterator[JetStreamSpool]:
    spool = await connect(as_role("delivery", servers.servers[0].url, timings=QUICK))
    yield spool
    await spool.close()
