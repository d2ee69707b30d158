"""The envelope that is sent together with the previous message's final dot (RFC 2920 §3.1)."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from postroad.cli.sink.server import Sink, SinkBehaviour
from postroad.cli.sink.session import SinkProtocol
from postroad.delivery.attempt import connection
from postroad.mail.address import parse_mailbox
from postroad.policy.model import (
    EgressPath,
    Rate,
    RetrySchedule,
    SiteLimits,
    Smarthost,
    Source,
    TlsMode,
)
from postroad.smtp_client.peer import Timeouts
from postroad.spool.event import Event, EventType
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import BlobRef, QueuedRecipient
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.peers.mx import HANG_UP, Script, ScriptedMx
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


async def test_the_next_envelope_goes_out_with_the_final_dot() -> None:
    async with noting() as (port, blocks):
        assert await sent_over(one_line(port), blocks) == [1, 1, 0]
        assert b"".join(blocks).count(b"EHLO") == 1
        assert blocks[-1] == b"QUIT\r\n"


async def test_a_connection_that_has_carried_its_share_is_not_begun_on() -> None:
    async with noting() as (port, blocks):
        assert await sent_over(one_line(port, messages_per_connection=2), blocks) == [1, 0, 0]
        assert b"".join(blocks).count(b"QUIT") == 2


async def test_nobody_waits_behind_a_slow_host_where_another_connection_may_be_free() -> None:
    async with noting(latency=0.1) as (port, blocks):
        assert await sent_over(one_line(port, connections=2), blocks) == [0, 0, 0]


async def test_with_a_line_behind_it_a_slow_host_gets_the_next_ahead() -> None:
    async with noting(latency=0.1) as (port, blocks):
        ahead = await sent_over(one_line(port, connections=2), blocks, *TO, *TO, *TO)
        assert sum(ahead) > 0


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
    assert [queued async for queued in spool.waiting.list(Selection())] == []
    return failures, got(mx)


def got(mx: ScriptedMx) -> list[str]:
    """Return the local parts of who got something, in turn."""
    return [line[9:10].decode() for each in mx.messages for line in each.recipients]


async def test_a_lost_answer_is_in_doubt_for_the_first_alone() -> None:
    async with ScriptedMx(on(b".", 0, HANG_UP)) as mx:
        [failure], who = await delivered(mx, *TO)
        assert (failure.recipients, failure.ambiguous) == (("b@y.example",), True)
        assert sorted(who) == ["b", "c", "d"]
        assert who[0] == "c", "it goes on, on another connection"


async def test_a_refusal_of_the_first_does_not_concern_the_next() -> None:
    async with ScriptedMx(on(b".", 0, b"451 4.3.0 not now\r\n")) as mx:
        [failure], who = await delivered(mx, *TO)
        assert failure.recipients == ("b@y.example",)
        assert sorted(who) == ["b", "c", "d"]
        assert mx.connections == 1


def in_turn(verb: bytes, *replies: bytes | None) -> Script:
    """Answer so to a verb, the first time, the second, and so on; then as usual."""
    return lambda line, count: (
        replies[count] if line.split()[0] == verb and count < len(replies) else None
    )


@pytest.mark.parametrize(
    "reply",
    [HANG_UP, b"421 4.7.0 enough\r\n", b"503 5.5.1 not now\r\n", b"554 not now\r\n"],
)
async def test_a_host_that_wants_the_envelope_later_gets_it_later(reply: bytes) -> None:
    """Nothing is deferred for it, let alone bounced."""
    async with ScriptedMx(on(b"MAIL", 1, reply)) as mx:
        failures, who = await delivered(mx, *TO)
        assert failures == []
        assert who == ["b", "c", "d"]
        assert mx.connections == 2


class Touchy(Noting):
    """A connection to a server that hangs up on whoever does not wait for its answer to the dot."""

    def data_received(self, data: bytes) -> None:
        """Take a block, up to what came too early."""
        content, early, _ = data.partition(b".\r\nMAIL")
        if not early:
            super().data_received(data)
            return
        self._blocks.append(data)
        SinkProtocol.data_received(self, content + b".\r\n")
        assert self._transport is not None
        self._transport.close()


async def test_a_host_that_hangs_up_for_it_is_not_asked_that_way_again() -> None:
    async with noting(kind=Touchy) as (port, blocks):
        ahead = await sent_over(one_line(port), blocks, *TO, *TO, attempts=7)
        assert sum(ahead) == 1
        assert b"".join(blocks).count(b"EHLO") == 2


class Forgetful(Noting):
    """A connection to a server that throws away what came with the dot, and goes on."""

    def data_received(self, data: bytes) -> None:
        """Take a block, up to what came too early."""
        content, early, _ = data.partition(b".\r\nMAIL")
        self._blocks.append(data)
        SinkProtocol.data_received(self, content + b".\r\n" if early else data)


async def test_a_host_that_forgets_what_came_early_is_soon_sent_it_later() -> None:
    """The answer to what went ahead is not waited for as long as one that is owed."""
    times = Timeouts(ahead=timedelta(seconds=0.2))
    async with noting(kind=Forgetful) as (port, blocks):
        ahead = await sent_over(one_line(port), blocks, *TO, *TO, attempts=7, timeouts=times)
        assert sum(ahead) == 1
        assert b"".join(blocks).count(b"EHLO") == 2


async def test_what_a_host_forgets_is_not_sent_early_for_hours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each trial costs a session and seconds. Whether to try again is asked five hours later."""
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 5 * 3600)
    monkeypatch.setattr(connection, "time", later)
    times = Timeouts(ahead=timedelta(seconds=0.2))
    async with noting(kind=Forgetful) as (port, blocks):
        ahead = await sent_over(one_line(port), blocks, *TO, *TO, attempts=7, timeouts=times)
        assert sum(ahead) == 1


async def test_a_message_for_too_many_goes_on_before_the_next_does() -> None:
    def script(line: bytes, count: int) -> bytes | None:
        if line.startswith(b"RCPT TO:<c"):
            return b"452 4.5.3 too many\r\n" if count == 1 else None
        return None

    spool = MemorySpool()
    both = tuple(QueuedRecipient(parse_mailbox(address)) for address in TO[:2])
    async with ScriptedMx(script, extensions=("PIPELINING",)) as mx:
        await publish(spool, anywhere=one_line(mx.port))
        await send(spool, "b@y.example", recipients=both)
        await send(spool, "d@y.example")
        async with delivering(spool):
            await history(spool, EventType.DELIVERY, 2)
        whom = [line for line in mx.commands if line.startswith(b"RCPT")]
        assert [line[9:10] for line in whom] == [b"b", b"c", b"c", b"d"]
        assert mx.connections == 1


async def test_a_host_that_refuses_out_of_turn_and_hangs_up_bounces_nothing() -> None:
    def script(line: bytes, count: int) -> bytes | None:
        if line.startswith(b"MAIL") and count == 1:
            return b"503 5.5.1 not now\r\n"
        return HANG_UP if line.startswith(b"RCPT") and count == 1 else None

    async with ScriptedMx(script) as mx:
        failures, who = await delivered(mx, *TO)
        assert failures == []
        assert who == ["b", "c", "d"]


@pytest.mark.parametrize("hosts", [1, 2])
async def test_a_host_that_closes_at_the_dot_leaves_the_next_to_another_session(hosts: int) -> None:
    """The first goes on to another host, or is tried later, and the next is not forgotten."""
    spool = MemorySpool()
    async with ScriptedMx(on(b".", 0, b"421 4.7.0 enough\r\n")) as mx, ScriptedMx() as other:
        ports = [mx.port, other.port][:hosts]
        egress_path = EgressPath(
            "relay:shop/line",
            tuple(Smarthost("127.0.0.1", port, turn) for turn, port in enumerate(ports)),
            tls=TlsMode.NONE,
            retry=RETRY,
            limits=SiteLimits(connections=1),
        )
        await publish(spool, anywhere=egress_path)
        await send(spool, *TO)
        async with delivering(spool):
            await history(spool, EventType.DELIVERY, 3)
            assert sorted(got(mx) + got(other)) == ["b", "c", "d"]
        assert [queued async for queued in spool.waiting.list(Selection())] == []
        said = mx.commands + other.commands
        assert said.count(b"QUIT") == mx.connections + other.connections - 1, "none is left open"


async def test_who_goes_on_to_another_host_takes_no_second_connection() -> None:
    """The session that was handed over is given up: both were one more than the limit says."""
    spool = MemorySpool()
    opened: list[int] = []

    def noting_open(line: bytes, count: int) -> bytes | None:
        opened.append(mx.open_now + other.open_now)
        return b"451 4.3.0 not now\r\n" if line == b"." and count == 0 else None

    mx, other = ScriptedMx(noting_open), ScriptedMx(noting_open)
    async with mx, other:
        hosts = tuple(Smarthost("127.0.0.1", each.port, n) for n, each in enumerate((mx, other)))
        egress_path = replace(one_line(mx.port), smarthosts=hosts)
        await publish(spool, anywhere=egress_path)
        await send(spool, *TO)
        async with delivering(spool):
            await history(spool, EventType.DELIVERY, 3)
            assert sorted(got(mx) + got(other)) == ["b", "c", "d"]
    assert max(opened) == 1


async def test_what_goes_on_elsewhere_after_several_turns_takes_no_second_connection() -> None:
    """It is known from a turn before that some mail goes on; the last turn ends with a success."""
    spool = MemorySpool()
    opened: list[int] = []

    def noting_open(line: bytes, count: int) -> bytes | None:
        opened.append(mx.open_now + other.open_now)
        return b"451 4.3.0 not now\r\n" if line == b"." and count == 0 else None

    one_each = ("PIPELINING", "LIMITS RCPTMAX=1")
    mx, other = ScriptedMx(noting_open, extensions=one_each), ScriptedMx(extensions=one_each)
    async with mx, other:
        hosts = tuple(Smarthost("127.0.0.1", each.port, n) for n, each in enumerate((mx, other)))
        path = one_line(mx.port, messages_per_connection=2)
        await publish(spool, anywhere=replace(path, smarthosts=hosts))
        to_three = tuple(QueuedRecipient(parse_mailbox(address)) for address in TO)
        await send(spool, TO[0], recipients=to_three)
        await send(spool, "e@y.example")
        async with delivering(spool):
            await history(spool, EventType.DELIVERY, 2)
            assert sorted(got(mx) + got(other)) == ["b", "c", "d", "e"]
    assert max(opened) == 1


async def test_a_sender_refused_ahead_is_asked_for_plainly_and_refused() -> None:
    spool = MemorySpool()
    refusal = b"550 5.7.1 not you\r\n"
    async with ScriptedMx(in_turn(b"MAIL", None, refusal, refusal)) as mx:
        await publish(spool, anywhere=one_line(mx.port))
        await send(spool, *TO)
        async with delivering(spool):
            [bounce] = await history(spool, EventType.BOUNCE)
            await history(spool, EventType.DELIVERY, 3)  # the third is the report
        assert bounce.recipients == ("c@y.example",)
        assert mx.connections == 2


async def test_an_answer_too_many_is_not_taken_for_that_of_the_next_message() -> None:
    """With answers shifted by one, DATA seems to be answered 250: nothing was taken by that."""
    twice = b"250 2.0.0 taken\r\n250 2.0.0 taken\r\n"
    async with ScriptedMx(on(b".", 0, twice)) as mx:
        failures, who = await delivered(mx, *TO)
        assert failures == []
        assert sorted(who) == ["b", "c", "d"]


async def test_a_message_without_its_body_takes_only_the_connection_along() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=one_line(mx.port))
        await send(spool, "b@y.example")
        await send(spool, "c@y.example", content=BlobRef(0, "gone", 1, 10, b"", destinations=1))
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
