"""The envelope that goes out with the final dot of the message before (RFC 2920 §3.1)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from postroad.cli.sink_server import Sink, SinkBehaviour, SinkProtocol
from postroad.policy.model import (
    Rate,
    RetrySchedule,
    SiteLimits,
    Smarthost,
    Source,
    TlsMode,
    WayOut,
)
from postroad.spool.event import Event, EventType
from postroad.spool.interface import Selection, WaitKind
from postroad.spool.memory import MemorySpool
from postroad.spool.record import BlobRef
from postroad.testing.delivery import delivering, history, publish, send
from postroad.testing.mx import HANG_UP, Script, ScriptedMx

RETRY = RetrySchedule(first=timedelta(seconds=1), longest=timedelta(seconds=1))
TO = ("b@y.example", "c@y.example", "d@y.example")


def one_line(port: int, *sources: Source, **limits: object) -> WayOut:
    """Return a way out with one connection, on which all mail has to go one after the other."""
    return WayOut(
        "relay:shop/line",
        (Smarthost("127.0.0.1", port),),
        tls=TlsMode.NONE,
        retry=RETRY,
        sources=sources,
        limits=SiteLimits(**({"connections": 1} | limits)),  # type: ignore[arg-type]
    )


# ---------------------------------------------------------------- what goes out together


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
async def noting(latency: float = 0.0) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Open a server, so many seconds slow at a dot; yield its port, and the blocks it reads."""
    blocks: list[bytes] = []
    sink = Sink(SinkBehaviour(latency=latency))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Noting(sink, blocks), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], blocks
    finally:
        server.close()


async def sent_over(way_out: WayOut, blocks: list[bytes]) -> list[int]:
    """Send three messages, and return how many envelopes came in one block with a final dot."""
    spool = MemorySpool()
    await publish(spool, anywhere=way_out)
    await send(spool, *TO)
    async with delivering(spool):
        await history(spool, EventType.DELIVERY, 3)
    assert sum(block.count(b"MAIL FROM") for block in blocks) == 3
    return [block.count(b".\r\nMAIL FROM") for block in blocks if b".\r\n" in block]


async def test_the_next_envelope_goes_out_with_the_final_dot() -> None:
    async with noting() as (port, blocks):
        assert await sent_over(one_line(port), blocks) == [1, 1, 0]
        assert b"".join(blocks).count(b"EHLO") == 1
        assert blocks[-1] == b"QUIT\r\n"


async def test_a_connection_that_has_carried_its_share_is_not_begun_on() -> None:
    async with noting() as (port, blocks):
        assert await sent_over(one_line(port, messages_per_connection=2), blocks) == [1, 0, 0]
        assert b"".join(blocks).count(b"QUIT") == 2


async def test_nobody_waits_long_for_a_connection_that_is_at_work() -> None:
    async with noting(latency=0.2) as (port, blocks):
        assert sum(await sent_over(one_line(port, connections=3), blocks)) == 0
        assert b"".join(blocks).count(b"EHLO") == 3


async def test_a_message_rate_holds_the_next_envelope_back() -> None:
    rate = Rate(2, timedelta(seconds=0.2))
    async with noting() as (port, blocks):
        assert await sent_over(one_line(port, message_rate=rate), blocks) == [0, 0, 0]


async def test_what_leaves_from_one_of_several_addresses_goes_ahead_from_the_same() -> None:
    sources = (Source("two", "127.0.0.2", "two.test"), Source("three", "127.0.0.3", weight=0))
    async with noting() as (port, blocks):
        assert await sent_over(one_line(port, *sources), blocks) == [1, 1, 0]
        assert blocks[0] == b"EHLO two.test\r\n"


# ---------------------------------------------------------------- what becomes of the two


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
    return failures, [line[9:10].decode() for each in mx.messages for line in each.recipients]


async def test_a_lost_answer_is_in_doubt_for_the_first_alone() -> None:
    async with ScriptedMx(on(b".", 0, HANG_UP)) as mx:
        [failure], got = await delivered(mx, *TO)
        assert (failure.recipients, failure.ambiguous) == (("b@y.example",), True)
        assert sorted(got) == ["b", "c", "d"]
        assert got[0] == "c", "it goes on, on another connection"


async def test_a_refusal_of_the_first_does_not_concern_the_next() -> None:
    async with ScriptedMx(on(b".", 0, b"451 4.3.0 not now\r\n")) as mx:
        [failure], got = await delivered(mx, *TO)
        assert failure.recipients == ("b@y.example",)
        assert sorted(got) == ["b", "c", "d"]
        assert mx.connections == 1


@pytest.mark.parametrize("reply", [HANG_UP, b"421 4.7.0 enough\r\n", b"503 5.5.1 not now\r\n"])
async def test_a_host_that_wants_the_envelope_later_gets_it_later(reply: bytes) -> None:
    """Nothing is deferred for it, let alone bounced, and the host is not asked that way again."""
    async with ScriptedMx(on(b"MAIL", 1, reply)) as mx:
        failures, got = await delivered(mx, *TO)
        assert failures == []
        assert got == ["b", "c", "d"]
        assert mx.connections == 2


async def test_a_sender_refused_ahead_is_refused() -> None:
    spool = MemorySpool()
    async with ScriptedMx(on(b"MAIL", 1, b"550 5.7.1 not you\r\n")) as mx:
        await publish(spool, anywhere=one_line(mx.port))
        await send(spool, *TO)
        async with delivering(spool):
            [bounce] = await history(spool, EventType.BOUNCE)
            await history(spool, EventType.DELIVERY, 3)  # the third is the report
        assert bounce.recipients == ("c@y.example",)
        assert mx.connections == 1


async def test_a_message_without_its_body_takes_only_the_connection_along() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=one_line(mx.port))
        await send(spool, "b@y.example")
        await send(spool, "c@y.example", content=BlobRef(0, "gone", 1, 10, b"", sole=True))
        await send(spool, "d@y.example")
        async with delivering(spool):
            [held] = await history(spool, EventType.HELD)
            await history(spool, EventType.DELIVERY, 2)
        assert held.recipients == ("c@y.example",)
        assert [line for each in mx.messages for line in each.recipients] == [
            b"RCPT TO:<b@y.example>",
            b"RCPT TO:<d@y.example>",
        ]
    waiting = [queued.kind async for queued in spool.waiting.list(Selection())]
    assert waiting == [WaitKind.HELD]
