"""The envelope that was sent ahead, when the host refuses, forgets, hangs up or says nothing."""

import time
from datetime import timedelta
from types import SimpleNamespace

import pytest

from postroad.cli.sink.session import SinkProtocol
from postroad.delivery.attempt import connection
from postroad.policy.model import (
    EgressPath,
    SiteLimits,
    Smarthost,
    TlsMode,
)
from postroad.smtp_client.peer import Timeouts
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import BlobRef
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.peers.mx import HANG_UP, ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send
from postroad_harness.setups.delivery.ahead import (
    RETRY,
    TO,
    Noting,
    delivered,
    got,
    noting,
    on,
    one_line,
    sent_over,
)


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
