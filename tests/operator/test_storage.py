"""How full the queue is, as a real nats-server reports it."""

from pathlib import Path

import pytest

from postroad.operator.jetstream.storage import read_storage
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.opening import provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.lanes.layout import Layout
from postroad.testing.queue.nats_server import NatsServer


@pytest.mark.nats
async def test_what_is_used_and_what_there_is(tmp_path: Path) -> None:
    async with NatsServer(tmp_path) as nats:
        options = SpoolOptions(servers=(nats.url,), role="operator")
        await provision(options, layout=Layout(1, 2, 1))
        found = await read_storage(options, capacity=10**9)
        assert 0 < found.used < 10**6
        assert found.limit == 10**9
        assert (await read_storage(options, capacity=0)).limit == 0


async def test_nobody_to_ask(unused_tcp_port: int) -> None:
    """Takes 10 s, for which a connection is tried."""
    options = SpoolOptions(servers=(f"nats://127.0.0.1:{unused_tcp_port}",), role="operator")
    with pytest.raises(SpoolUnavailable):
        await read_storage(options, capacity=0)
