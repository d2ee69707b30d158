"""A cluster of real nats-servers on loopback; a test can kill and start each of them."""

import asyncio
from pathlib import Path
from typing import Self

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.opening import provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.lanes.layout import SINGLE_MACHINE, Layout
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer, free_ports

_ROUTES = """\
cluster {{
  name: test
  listen: "127.0.0.1:{port}"
  routes: [{routes}]
}}
"""


_PAUSE = 0.2  # seconds between tries


async def provisioned(operator: SpoolOptions, *, layout: Layout, capacity: int = 10**9) -> None:
    """Make the queue as the operator does: again and again while the servers find each other."""
    async with asyncio.timeout(patient(30)):
        while True:
            try:
                await provision(operator, layout=layout, capacity=capacity)
                return
            except SpoolUnavailable:
                await asyncio.sleep(_PAUSE)


class NatsCluster:
    """A cluster of servers; `async with` starts and ends all of them."""

    def __init__(
        self,
        folder: Path,
        *,
        size: int = 3,
        accounts: Path | None = None,
        shards: int = SINGLE_MACHINE.shards,
        max_file_store: str = "10GB",
    ) -> None:
        ports = free_ports(size)
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self.servers: list[NatsServer] = []
        for number, port in enumerate(ports):
            own = folder / f"server-{number}"
            own.mkdir(parents=True)
            more = _ROUTES.format(port=port, routes=routes)
            name = f"test-{number}"
            server = NatsServer(
                own,
                accounts=accounts,
                shards=shards,
                name=name,
                more=more,
                max_file_store=max_file_store,
            )
            self.servers.append(server)

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs for clients."""
        return tuple(server.url for server in self.servers)

    async def __aenter__(self) -> Self:
        for server in self.servers:
            server.spawn()
        for server in self.servers:
            await server.until_healthy()
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self.servers:
            server.kill()
