"""
A cluster of each implementation of the queue: all must pass the contract tests.

JetStream is tested twice: as one user with all rights, and as the chart's users, each with its own
permissions.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroad.spool.interface import Spool
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.testing.queue.accounts import as_role
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import OpenSpool
from postroad_harness.by_role import ROLES, ByRole

ACCOUNTS = Path(__file__).parents[2] / "charts" / "postroad" / "files" / "nats-accounts.conf"


@pytest.fixture(
    params=[
        "memory",
        pytest.param("jetstream", marks=pytest.mark.nats),
        pytest.param("jetstream by role", marks=pytest.mark.nats),
    ]
)
async def open_spool(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenSpool]:
    """Give a function that opens one more process's spool on the test's cluster."""
    opened: list[Spool] = []
    if request.param == "memory":
        cluster = MemoryCluster()

        async def open_one() -> Spool:
            opened.append(MemorySpool(cluster, process=f"process-{len(opened)}"))
            return opened[-1]

        yield open_one
        for spool in opened:
            await spool.close()
        return
    by_role = request.param == "jetstream by role"
    async with NatsServer(tmp_path, accounts=ACCOUNTS if by_role else None) as server:

        def options(role: str) -> SpoolOptions:
            name = f"process-{len(opened)}"
            if by_role:
                return as_role(role, server.url, process=name)
            return SpoolOptions(servers=(server.url,), role=role, process=name)

        await provision(options("operator"), layout=SINGLE_MACHINE)

        async def open_one() -> Spool:
            if by_role:
                opened.append(ByRole({role: await connect(options(role)) for role in ROLES}))
            else:
                opened.append(await connect(options("delivery")))
            return opened[-1]

        yield open_one
        for spool in opened:
            await spool.close()
        assert "Violation" not in server.log


@pytest.fixture
async def spool(open_spool: OpenSpool) -> Spool:
    """Give one process's spool."""
    return await open_spool()
