"""A real queue, a way to run commands on it, and a sink."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from postroad.cli.sink.server import SinkBehaviour
from postroad.cli.sink.session import SinkProtocol
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad_harness.setups.load import Hop, OpenHop
from postroad_harness.waiting_mail import Run, Said


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as running:
        await provision(SpoolOptions((running.url,), role="operator"), layout=SINGLE_MACHINE)
        yield running


@pytest.fixture
async def spool(server: NatsServer) -> AsyncIterator[JetStreamSpool]:
    """The queue as a process of the cluster has it open."""
    opened = await connect(SpoolOptions((server.url,), role="delivery", process="tests"))
    yield opened
    await opened.close()


@pytest.fixture
def run(server: NatsServer) -> Run:
    """Give a function that runs a command to its end; it answers with code, output, complaints."""

    async def run_one(*words: str, stdin: int = asyncio.subprocess.DEVNULL, **more: str) -> Said:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-Im", "postroad.cli", *words),
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "POSTROAD_NATS_URL": server.url, "COLUMNS": "200", **more},
        )
        out, err = await asyncio.wait_for(process.communicate(), patient(30))
        return process.returncode or 0, out.decode(), err.decode()

    return run_one


@pytest.fixture
async def open_hop() -> AsyncIterator[OpenHop]:
    opened: list[tuple[Hop, asyncio.Server]] = []

    async def open_one(**behaviour: Any) -> Hop:
        hop = Hop(SinkBehaviour(**behaviour))
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SinkProtocol(hop.sink), "127.0.0.1", 0)
        hop.port = server.sockets[0].getsockname()[1]
        opened.append((hop, server))
        return hop

    yield open_one
    for hop, server in opened:
        server.close()
        await hop.sink.hang_up()
