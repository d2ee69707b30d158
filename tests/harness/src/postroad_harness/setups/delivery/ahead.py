"""Sessions over which one envelope follows another, for tests of sending ahead."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from postroad.cli.sink.server import Sink, SinkBehaviour
from postroad.cli.sink.session import SinkProtocol
from postroad.policy.model import (
    EgressPath,
    RetrySchedule,
    SiteLimits,
    Smarthost,
    Source,
    TlsMode,
)
from postroad.smtp_client.peer import Timeouts
from postroad.spool.event import Event, EventType
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.selection import Selection
from postroad.testing.peers.mx import Script, ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send

RETRY = RetrySchedule(first=timedelta(seconds=1), longest=timedelta(seconds=1))
TO = ("b@y.example", "c@y.example", "d@y.example")


def one_line(port: int, *sources: Source, **limits: object) -> EgressPath:
    """Return an egress path of one connection: all mail has to go one after the other."""
    return EgressPath(
        "relay:shop/line",
        (Smarthost("127.0.0.1", port),),
        tls=TlsMode.NONE,
        retry=RETRY,
        sources=sources,
        limits=SiteLimits(**({"connections": 1} | limits)),  # type: ignore[arg-type]
    )


class Noting(SinkProtocol):
    """A connection to a sink that notes each block it reads."""

    def __init__(self, sink: Sink, blocks: list[bytes]) -> None:
        super().__init__(sink)
        self._blocks = blocks

    def data_received(self, data: bytes) -> None:
        """Note a block, and take it."""
        self._blocks.append(data)
        super().data_received(data)


@asynccontextmanager
async def noting(
    latency: float = 0.0, kind: type[Noting] = Noting
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Open a server, so many seconds slow at a dot; yield its port, and the blocks it reads."""
    blocks: list[bytes] = []
    sink = Sink(SinkBehaviour(latency=latency))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: kind(sink, blocks), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], blocks
    finally:
        server.close()


async def sent_over(
    egress_path: EgressPath,
    blocks: list[bytes],
    *to: str,
    attempts: int | None = None,
    timeouts: Timeouts | None = None,
) -> list[int]:
    """Send messages, and return how many envelopes came in one block with each final dot."""
    to = to or TO
    spool = MemorySpool()
    await publish(spool, anywhere=egress_path)
    await send(spool, *to)
    async with delivering(spool, timeouts=timeouts):
        await history(spool, EventType.DELIVERY, len(to))
    assert sum(block.count(b"MAIL FROM") for block in blocks) == (attempts or len(to))
    return [block.count(b".\r\nMAIL FROM") for block in blocks if b".\r\n" in block]


def on(verb: bytes, number: int, reply: bytes) -> Script:
    """Answer so to the n-th of a verb, counted from 0."""
    return lambda line, count: reply if line.split()[0] == verb and count == number else None


async def delivered(mx: ScriptedMx, *to: str) -> tuple[list[Event], list[str]]:
    """Deliver to each of `to` over one connection; return what failed first, and who got what."""
    spool = MemorySpool()
    await publish(spool, anywhere=one_line(mx.port))
    await send(spool, *to)
    failed = frozenset({EventType.TRANSIENT_FAILURE})
    async with delivering(spool):
        await history(spool, EventType.DELIVERY, len(to))
        failures = [event async for event in spool.events.read(types=failed)]
    assert [queued async for queued in spool.waiting.list(Selection())] == []
    return failures, got(mx)


def got(mx: ScriptedMx) -> list[str]:
    """Return the local parts of who got something, in turn."""
    return [line[9:10].decode() for each in mx.messages for line in each.recipients]


def in_turn(verb: bytes, *replies: bytes | None) -> Script:
    """Answer so to a verb, the first time, the second, and so on; then as usual."""
    return lambda line, count: (
        replies[count] if line.split()[0] == verb and count < len(replies) else None
    )
