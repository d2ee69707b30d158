"""
Servers with the chart's accounts, and a plain connection of each role, to try what no code does.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import nats.js.errors
from nats.aio.client import Client

from postroad.spool.lanes.layout import Layout
from postroad.testing.patience import patient
from postroad.testing.queue.accounts import API_PREFIX, ROLES, as_role, password_of
from postroad.testing.queue.nats_cluster import NatsCluster, provisioned
from postroad.testing.queue.nats_server import NatsServer

SHARDS = 2
_CAPACITY = 10**9


class Servers:
    """Servers with the chart's accounts, and a connection for each role."""

    def __init__(self, servers: list[NatsServer], clients: Mapping[str, Client]) -> None:
        self.servers = servers
        self.clients = clients

    async def ask(self, role: str, subject: str, body: str = "", **headers: str) -> Any:
        """Return the answer to one request; NoRespondersError if nobody serves it."""
        answer = await self.clients[role].request(
            subject, body.encode(), headers=headers or None, timeout=patient(5)
        )
        return json.loads(answer.data)

    def refused(self, how: str) -> int:
        """Return how often the first server's log, which lags behind its answers, tells this."""
        return sum(how in line for line in self.servers[0].log.splitlines())

    async def stored(self) -> dict[tuple[str, int], tuple[str, bytes]]:
        """Return everything that is stored: stream and sequence, subject and content."""
        found = {}
        api = self.clients["operator"].jetstream(prefix=API_PREFIX)
        for stream in await api.streams_info():
            name, state = str(stream.config.name), stream.state
            for sequence in range(max(1, state.first_seq), state.last_seq + 1):
                with_it = await self._message(name, sequence)
                if with_it is not None:
                    found[name, sequence] = with_it
        return found

    async def until_timers_ran(self) -> None:
        """Wait until a message that is stored last and lives for a second has ended."""
        said = await self.ask("ingress", "$KV.quotas.last", "mine", **{"Nats-TTL": "1s"})
        async with asyncio.timeout(patient(20)):
            while True:
                if await self._message("KV_quotas", said["seq"]) is None:
                    return
                await asyncio.sleep(0.05)

    async def _message(self, stream: str, sequence: int) -> tuple[str, bytes] | None:
        api = self.clients["operator"].jetstream(prefix=API_PREFIX)
        try:
            message = await api.get_msg(stream, sequence)
        except nats.js.errors.NotFoundError:
            return None
        return str(message.subject), message.data or b""


@asynccontextmanager
async def walled(
    folder: Path, accounts: Path, *, replicas: int, capacity: int = _CAPACITY
) -> AsyncIterator[Servers]:
    """
    Start one server, or three; make the queue, and join as each role.

    `capacity` is what a server may store, in octets.
    """
    async with AsyncExitStack() as stack:
        if replicas == 1:
            alone = NatsServer(
                folder, accounts=accounts, shards=SHARDS, max_file_store=str(capacity)
            )
            running = [await stack.enter_async_context(alone)]
        else:
            cluster = NatsCluster(
                folder,
                size=replicas,
                accounts=accounts,
                shards=SHARDS,
                max_file_store=str(capacity),
            )
            running = (await stack.enter_async_context(cluster)).servers
        yield await stack.enter_async_context(_joined(running, replicas, capacity))


@asynccontextmanager
async def _joined(
    servers: list[NatsServer], replicas: int, capacity: int
) -> AsyncIterator[Servers]:
    urls = [server.url for server in servers]
    layout = Layout(shards=SHARDS, lanes=2, replicas=replicas)
    await provisioned(as_role("operator", *urls), layout=layout, capacity=capacity)
    async with AsyncExitStack() as stack:
        clients = {}
        for role in ROLES:
            clients[role] = client = await nats.connect(
                urls,
                user=role,
                password=password_of(role),
                inbox_prefix=f"_INBOX_{role}".encode(),
                error_cb=_ignore,
            )
            stack.push_async_callback(client.close)
        yield Servers(servers, clients)


async def _ignore(_: Exception) -> None:
    pass
