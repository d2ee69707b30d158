"""A process's connection to NATS: which servers it trusts, and how it ends."""

import asyncio
import os
from datetime import timedelta

import pytest

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.nats.connection import Access, NatsLink
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.tcp_proxy import TcpProxy

pytestmark = pytest.mark.nats


# Two seconds: so long it waits for an answer.
async def test_a_connection_without_an_answer_is_closed_all_the_same(server: NatsServer) -> None:
    """It stayed open where the server did not say that it had heard all."""
    lost = False

    def alter(data: bytes) -> bytes:
        return b"" if lost else data

    async with TcpProxy(server.url, alter) as way:
        link = NatsLink(Access((way.url,)))
        await link.open()
        lost = True
        await link.close()
        assert link.client.is_closed
        assert not link.connected


GREETING = b'INFO {"server_id":"X","version":"2.11.0","headers":true,"auth_required":true}\r\n'


# A second: so long it tries.
async def test_a_server_of_another_user_is_told_nothing() -> None:
    """Any local user may listen on a port that nats-server has left for a moment."""
    told: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        told.append(await reader.read(4096))
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        url = f"nats://127.0.0.1:{port}"
        link = NatsLink(Access((url,), token="secret", server_uid=os.geteuid() + 1))
        with pytest.raises(
            SpoolUnavailable, match=f"another user's program listens .* port {port}"
        ):
            await link.open(timeout=timedelta(seconds=patient(1)))
        await link.close()
    assert set(told) == {b""}


async def test_a_server_of_ones_own_is_trusted(server: NatsServer) -> None:
    link = NatsLink(Access((server.url,), server_uid=os.geteuid()))
    await link.open()
    assert link.connected
    await link.close()
