"""The connection to NATS as blocks: bounded, whole under TLS, and its end told from its loss."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlparse

import pytest

from postroad.ingress.tls import self_signed
from postroad.spool.blocks import BlockTransport
from postroad.spool.fast_client import FastClient, Incoming
from postroad.testing.nats_server import NatsServer
from postroad.testing.streams import hang_up

MUCH = 32 * 1024 * 1024


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    """Open a server that does this with each connection; yield its port. Ends with the last one."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
        await hang_up(writer)

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if tasks:
            await asyncio.wait(tasks, timeout=5)


@asynccontextmanager
async def to(serve: Serve) -> AsyncIterator[BlockTransport]:
    """Open a connection to a server that does this with each connection."""
    async with listening(serve) as port:
        transport = BlockTransport()
        await transport.connect(urlparse(f"nats://127.0.0.1:{port}"), 0, 5)
        try:
            yield transport
        finally:
            transport.close()
            await asyncio.wait_for(transport.wait_closed(), 5)


async def test_a_server_waits_for_a_reader_that_is_slow() -> None:
    """What is read and not taken is bounded, and all of it comes when it is taken."""
    drained = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _number in range(MUCH // 65536):
            writer.write(b"x" * 65536)
            await writer.drain()
        drained.set()

    async with to(serve) as transport:
        first = await transport.read(0)
        with pytest.raises(TimeoutError):  # it must not happen, for however long
            await asyncio.wait_for(drained.wait(), 1)
        assert len(first) < MUCH
        got = len(first)
        while data := await asyncio.wait_for(transport.read(0), 5):
            assert len(data) < 4 * 1024 * 1024
            got += len(data)
        assert got == MUCH
        assert transport.at_eof()


async def test_what_was_said_before_the_end_is_read_before_it() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO {}\r\nPONG\r\nMSG")

    async with to(serve) as transport:
        assert await transport.readline() == b"INFO {}\r\n"
        assert await transport.readline() == b"PONG\r\n"
        assert not transport.at_eof()
        assert await transport.readline() == b"MSG", "what there is, when no more will come"
        assert await transport.read(0) == b""
        assert transport.at_eof()


async def test_a_connection_that_was_reset_is_an_error_and_no_end() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        reset = struct.pack("ii", 1, 0)  # no lingering: close says RST
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        writer.transport.abort()

    async with to(serve) as transport:
        transport.write(b"x")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(transport.read(0), 5)
        with pytest.raises(ConnectionResetError):
            await transport.drain()


async def test_a_writer_waits_for_a_server_that_reads_slowly() -> None:
    may_read, read = asyncio.Event(), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal read
        await may_read.wait()
        while read < MUCH:
            read += len(await reader.read(65536))
        writer.write(b"done")

    async with to(serve) as transport:
        transport.writelines([b"x" * (MUCH // 2), b"y" * (MUCH // 2)])
        drain = asyncio.ensure_future(transport.drain())
        await asyncio.wait([drain], timeout=0.2)
        assert not drain.done()
        may_read.set()
        await asyncio.wait_for(drain, 10)
        assert await asyncio.wait_for(transport.read(0), 10) == b"done"


async def test_one_who_gives_up_waiting_to_write_takes_nobody_along() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stuck.wait()
        while await reader.read(65536):
            pass
        await hang_up(writer)

    stuck = asyncio.Event()
    async with to(serve) as transport:
        transport.write(b"x" * MUCH)
        first, second = (asyncio.ensure_future(transport.drain()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        assert not second.done()
        stuck.set()
        await asyncio.wait_for(second, 10)


async def test_a_connection_that_failed_is_not_left_open_by_the_next() -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        gone.set()

    async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(listen) as port, to(serve) as transport:
        await transport.connect(urlparse(f"nats://127.0.0.1:{port}"), 0, 5)
        await asyncio.wait_for(gone.wait(), 5)


async def test_after_a_handshake_that_failed_nobody_waits_for_the_end() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"this is no TLS, and never was\r\n" * 10)
        await reader.read()

    async with to(serve) as transport:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await transport.connect_tls("localhost", ssl.create_default_context(), 0, 5)
        transport.close()
        await asyncio.wait_for(transport.wait_closed(), 1)


@pytest.mark.nats
async def test_messages_are_whole_under_tls(tmp_path: Path) -> None:
    certificate = tmp_path / "tls"
    self_signed(certificate, "localhost")
    pem = certificate / "cert.pem", certificate / "key.pem"
    more = f'tls {{ cert_file: "{pem[0]}", key_file: "{pem[1]}" }}'
    heard: list[Incoming] = []
    done = asyncio.Event()

    def listen(message: Incoming) -> None:
        heard.append(message)
        if len(heard) == 20:
            done.set()

    async with NatsServer(tmp_path, more=more) as server:
        client = FastClient()
        trust = ssl.create_default_context(cafile=str(pem[0]))
        await client.connect(server.url.replace("127.0.0.1", "localhost"), tls=trust)
        await client.listen("t", listen)
        payloads = [bytes([number]) * 200_000 for number in range(20)]
        for payload in payloads:
            client.post("t", payload)
        await asyncio.wait_for(done.wait(), 10)
        assert [message.data for message in heard] == payloads
        await client.close()
