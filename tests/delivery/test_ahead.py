"""The envelope that is sent together with the previous message's final dot (RFC 2920 §3.1)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from postroad.mail.address import parse_mailbox
from postroad.policy.model import (
    Rate,
    Smarthost,
    Source,
)
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import QueuedRecipient
from postroad.testing.peers.mx import HANG_UP, ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send
from postroad_harness.setups.delivery.ahead import (
    TO,
    delivered,
    got,
    in_turn,
    noting,
    on,
    one_line,
    sent_over,
)


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
