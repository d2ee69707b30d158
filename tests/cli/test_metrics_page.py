"""The metrics page of `postroad up`, with processes that answer late or never."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from postroad.cli.standalone.metrics_page import merged_pages
from postroad.telemetry.exposition import Format
from postroad.testing.streams import hang_up

PAGE = "# TYPE mail counter\nmail_total 7\n"
HEAD = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(PAGE)}\r\n\r\n"


@asynccontextmanager
async def process(ready: Callable[[], Awaitable[object]]) -> AsyncIterator[str]:
    """Serve a page, as a process does, once `ready` says so; give where."""

    answering: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await ready()
            writer.write((HEAD + PAGE).encode())
            await writer.drain()
        finally:
            await hang_up(writer)

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.create_task(answer(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for task in answering:
        task.cancel()
    await asyncio.gather(*answering, return_exceptions=True)


async def test_all_processes_are_asked_at_the_same_time() -> None:
    """Each answers only when the other was asked too."""
    both = asyncio.Barrier(2)
    async with process(both.wait) as one, process(both.wait) as other:
        page = await merged_pages({"ingress-0": one, "delivery-0": other}, Format.TEXT)
    assert 'mail_total{process="ingress-0"} 7\n' in page
    assert 'mail_total{process="delivery-0"} 7\n' in page


# Five seconds: so long a process may take.
async def test_a_process_that_stands_still_is_left_out() -> None:
    async with process(asyncio.Event().wait) as silent, process(lambda: asyncio.sleep(0)) as other:
        page = await merged_pages({"ingress-0": silent, "delivery-0": other}, Format.TEXT)
    assert "ingress-0" not in page
    assert 'mail_total{process="delivery-0"} 7\n' in page
