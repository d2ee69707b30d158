"""A TCP proxy in front of a server; a test can change or drop what clients write."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Self

from postroad.testing.streams import hang_up


class TcpProxy:
    """
    Passes connections on to a server on loopback; `url` is for clients.

    `alter` returns what to pass on in place of each block that a client writes; empty drops it.
    """

    def __init__(self, url: str, alter: Callable[[bytes], bytes]) -> None:
        self._to = int(url.rpartition(":")[2])
        self._alter = alter
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
            there = self._pass_on(reader, far_writer, self._alter)
            back = self._pass_on(far_reader, writer, bytes)
            await _either(there, back, far_writer)
        except OSError:
            pass  # the server does not answer
        finally:
            self._tasks.discard(task)
            await hang_up(writer)

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        alter: Callable[[bytes], bytes],
    ) -> None:
        while data := await reader.read(2**16):
            writer.write(alter(data))
        await hang_up(writer)


async def _either(
    there: Coroutine[Any, Any, None], back: Coroutine[Any, Any, None], far: asyncio.StreamWriter
) -> None:
    """Run both directions until both end or this is cancelled; then close the far connection."""
    tasks = [asyncio.create_task(each) for each in (there, back)]
    try:
        await asyncio.wait(tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await hang_up(far)
