"""One cluster of each home of the queue: the contract is asked of both."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroad.spool.interface import Spool
from postroad.spool.jetstream import SpoolOptions, connect, provision
from postroad.spool.layout import SINGLE_MACHINE
from postroad.spool.memory import MemoryCluster, MemorySpool
from postroad.testing.nats_server import NatsServer
from postroad.testing.queued_mail import OpenSpool


@pytest.fixture(params=["memory", pytest.param("jetstream", marks=pytest.mark.nats)])
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
    async with NatsServer(tmp_path) as server:
        await provision(SpoolOptions(servers=(server.url,)), layout=SINGLE_MACHINE)

        async def open_one() -> Spool:
            options = SpoolOptions(
                servers=(server.url,), role="delivery", process=f"process-{len(opened)}"
            )
            opened.append(await connect(options))
            return opened[-1]

        yield open_one
        for spool in opened:
            await spool.close()


@pytest.fixture
async def spool(open_spool: OpenSpool) -> Spool:
    """Give one process's spool."""
    return await open_spool()
