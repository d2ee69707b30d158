"""Reading and writing octets in a session with a misbehaving next hop."""

import asyncio
import contextlib
import resource

import pytest

from postroad.smtp_client import network
from postroad.smtp_client.network import HostUnreachable, NetworkError, OwnLack, connect
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx

FLOOD = 64 * 1024 * 1024  # octets; what two sockets' buffers hold is a tenth of it
BLOCK = b"250 and more\r\n" * 4096


async def test_a_host_that_talks_without_end_is_made_to_wait() -> None:
    """Else an idle connection to it takes as much memory as it likes."""
    said = 0
    silenced = asyncio.Event()

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal said
        with contextlib.suppress(TimeoutError):
            while said < FLOOD:
                async with asyncio.timeout(1):
                    writer.write(BLOCK)
                    said += len(BLOCK)
                    await writer.drain()
        silenced.set()
        writer.close()

    async with await asyncio.start_server(flood, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connection = await connect("127.0.0.1", port, timeout=5.0)
        await silenced.wait()
        assert said < FLOOD
        heard = 0
        with contextlib.suppress(NetworkError):
            while True:
                heard += len(await connection.read(5.0))
        assert heard == said  # once it is listened to, all of it comes
        connection.abort()


async def test_a_peer_that_reads_nothing_keeps_no_connection_that_is_closed() -> None:
    """It would take up a place of its site for as long as it likes."""
    ended = asyncio.Event()

    async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    async with await asyncio.start_server(deaf, "127.0.0.1", 0) as server:
        connection = await connect("127.0.0.1", server.sockets[0].getsockname()[1], timeout=5.0)
        connection.write(bytes(FLOOD))
        connection.close(within=0.1)
        assert not connection.gone.done(), "there is something left to be heard"
        await asyncio.wait_for(connection.gone, patient(5))
        ended.set()


async def test_having_no_descriptors_left_says_nothing_about_the_host() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with ScriptedMx() as mx:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            with pytest.raises(OwnLack, match="Too many open files"):
                await connect("127.0.0.1", mx.port, timeout=5.0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(("at_once", "error"), [(60.0, HostUnreachable), (0.0, NetworkError)])
async def test_that_there_is_no_route_is_known_here_or_said_far_away(
    monkeypatch: pytest.MonkeyPatch, at_once: float, error: type[NetworkError]
) -> None:
    """What takes its time, until a router far away says so, was a try like others."""
    monkeypatch.setattr(network, "_AT_ONCE", at_once)
    with pytest.raises(NetworkError) as raised:
        await connect("ff02::1", 25, timeout=5.0)
    assert type(raised.value) is error
