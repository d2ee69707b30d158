"""The end of a process's connection to NATS."""

import pytest

from postroad.spool.jetstream.nats.connection import Access, NatsLink
from postroad.testing.nats_server import NatsServer
from postroad.testing.way import Way

pytestmark = pytest.mark.nats


# Two seconds: so long it waits for an answer.
async def test_a_connection_without_an_answer_is_closed_all_the_same(server: NatsServer) -> None:
    """It stayed open where the server did not say that it had heard all."""
    lost = False

    def alter(data: bytes) -> bytes:
        return b"" if lost else data

    async with Way(server.url, alter) as way:
        link = NatsLink(Access((way.url,)))
        await link.open()
        lost = True
        await link.close()
        assert link.client.is_closed
        assert not link.connected
