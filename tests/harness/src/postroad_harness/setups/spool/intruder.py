"""A server with the chart's accounts, and somebody with the password of ingress on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
from nats.aio.client import Client

from postroad.spool.jetstream.opening import provision
from postroad.spool.lanes.layout import Layout
from postroad.testing.queue.accounts import as_role, password_of
from postroad.testing.queue.nats_server import NatsServer

ACCOUNTS = Path(__file__).parents[6] / "charts" / "postroad" / "files" / "nats-accounts.conf"


@asynccontextmanager
async def server_with_accounts(folder: Path, layout: Layout) -> AsyncIterator[NatsServer]:
    """Run a server with the accounts of the chart and the queue's streams."""
    async with NatsServer(folder, accounts=ACCOUNTS, shards=layout.shards) as running:
        await provision(as_role("operator", running.url), layout=layout, capacity=10**9)
        yield running


@asynccontextmanager
async def intruding(server: NatsServer) -> AsyncIterator[Client]:
    """Connect as somebody with the password of ingress, who publishes what he likes."""
    inbox = b"_INBOX_ingress"
    login = {"user": "ingress", "password": password_of("ingress"), "inbox_prefix": inbox}
    client = await nats.connect(server.url, **login)
    yield client
    await client.close()
