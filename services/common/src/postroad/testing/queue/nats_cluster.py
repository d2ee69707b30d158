"""A cluster of real nats-servers on loopback; a test can kill and start each of them."""

from pathlib import Path
from typing import Self

from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.testing.queue.nats_server import NatsServer, free_ports

_ROUTES = """\
cluster {{
  name: test
  listen: "127.0.0.1:{port}"
  routes: [{routes}]
}}
"""


class NatsCluster:
    """A cluster of servers; `async with` starts and ends all of them."""

    def __init__(
        self,
        folder: Path,
        *,
        size: int = 3,
        accounts: Path | None = None,
        shards: int = SINGLE_MACHINE.shards,
    ) -> None:
        ports = free_ports(size)
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self.servers: list[NatsServer] = []
        for number, port in enumerate(ports):
            own = folder / f"server-{number}"
            own.mkdir(parents=True)
            more = _ROUTES.format(port=port, routes=routes)
            name = f"test-{number}"
            server = NatsServer(own, accounts=accounts, shards=shards, name=name, more=more)
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
