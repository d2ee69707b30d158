"""The HTTP server against clients that send nothing, too much, or no valid request."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest
import structlog.testing

from postroad.process.health import HealthServer, Readiness, own_page
from postroad.process.http_server import HttpLimits
from postroad.process.sockets import listen
from postroad.testing.patience import patient
from postroad.units.addresses import ListenAddress

# None of them ends for its age.
LIMITS = HttpLimits(connections=6, for_each_address=4, life=timedelta(hours=1))


@asynccontextmanager
async def served(limits: HttpLimits = LIMITS) -> AsyncIterator[int]:
    listener = listen(ListenAddress("127.0.0.1", 0))
    page = {"backlog": lambda: (200, {"waiting": 3})}
    server = HealthServer(listener, Readiness(), own_page, page, limits=limits)
    await server.start()
    try:
        yield listener.getsockname()[1]
    finally:
        await server.stop()


async def ask(port: int, octets: bytes, *, own: str = "127.0.0.1") -> bytes:
    """Return all that is answered to some octets, until the server ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(own, 0))
    writer.write(octets)
    try:
        async with asyncio.timeout(patient(20)):
            return await reader.read()
    finally:
        writer.close()


@asynccontextmanager
async def half_requests(port: int, own: Iterable[str]) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Open a connection from each address, in turn, and say half a request on it."""
    opened = []
    try:
        for address in own:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(address, 0)
            )
            opened.append((reader, writer))
            writer.write(b"GET /healthz HT")
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.close()
        for _, writer in opened:
            with suppress(ConnectionError):
                await writer.wait_closed()


REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_the_root_names_the_pages_there_are() -> None:
    async with served() as port:
        answer = await ask(port, b"GET / HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\n/metrics\n/healthz\n/readyz\n/backlog\n")
        assert json.loads((await ask(port, b"GET /backlog HTTP/1.0\r\n\r\n")).splitlines()[-1]) == {
            "waiting": 3
        }


async def test_no_version_of_anything_is_told_to_whom_it_does_not_concern() -> None:
    async with served() as port:
        for octets in (REQUEST, b"GET /nothing HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n"):
            head = (await ask(port, octets)).partition(b"\r\n\r\n")[0].lower()
            assert b"server:" not in head
            assert b"python" not in head


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"EHLO there\r\n\r\n", 400),
        (b"GET /healthz\r\n\r\n", 400),
        (b"GET /healthz HTTP/2.0\r\n\r\n", 400),
        (b"GET http://elsewhere/ HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"POST /healthz HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 9000, 431),
        (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
    ],
)
async def test_what_is_no_request_is_answered_and_not_logged(
    octets: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with structlog.testing.capture_logs() as logged, caplog.at_level(logging.DEBUG):
        async with served() as port:
            answer = await ask(port, octets)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert [each for each in logged if each["log_level"] != "debug"] == []
    assert [each for each in caplog.records if each.levelno > logging.DEBUG] == []


async def test_a_head_is_an_answer_without_its_body() -> None:
    async with served() as port:
        whole, head = await ask(port, REQUEST), await ask(port, REQUEST.replace(b"GET", b"HEAD"))
    assert head == whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


async def test_a_client_that_closed_its_half_is_answered() -> None:
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        writer.write_eof()
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_unfinished_requests_of_one_address_keep_nobody_out() -> None:
    async with served() as port, half_requests(port, ["127.0.0.2"] * 12) as waiting:
        # The first eight have given their places up, to those after them.
        for reader in waiting[:8]:
            assert await _ended(reader)
        for own in ("127.0.0.1", "127.0.0.2"):
            assert (await ask(port, REQUEST, own=own)).startswith(b"HTTP/1.1 200 ")
        assert not waiting[-1].at_eof()


async def test_unfinished_requests_of_many_addresses_keep_nobody_out() -> None:
    many = [f"127.0.0.{2 + each}" for each in range(12)]
    async with served() as port, half_requests(port, many) as waiting:
        for reader in waiting[:6]:
            assert await _ended(reader)
        assert (await ask(port, REQUEST)).startswith(b"HTTP/1.1 200 ")


async def test_a_connection_lives_for_a_bounded_time_whatever_comes() -> None:
    async with served(HttpLimits(life=timedelta(seconds=0.3))) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        ended = asyncio.create_task(_ended(reader))
        while not ended.done():  # an octet now and then keeps nothing open
            writer.write(b"G")
            await asyncio.wait((ended,), timeout=0.05)
        assert await ended
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _ended(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(patient(20)):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True
