"""Orders for mail that is being sent, or waits for its turn at its site."""

import asyncio

import pytest

from postroad.mail.address import parse_mailbox
from postroad.spool.event import EventType
from postroad.spool.interface import Deferred, QueueState, Ready
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import QueuedRecipient
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.peers.mx import SILENCE, ScriptedMx
from postroad.testing.processes.delivery import (
    CLIENT,
    HOUR,
    counted,
    delivering,
    history,
    order,
    publish,
    send,
    to_smarthost,
    waiting,
)
from postroad.testing.queue.queued_mail import now, put


@pytest.mark.parametrize(
    ("place", "orders"), [(Deferred(now() + HOUR), ("retry",)), (Ready(), ("hold", "release"))]
)
async def test_an_order_ends_an_attempt_that_goes_on(
    place: QueueState, orders: tuple[str, ...]
) -> None:
    """It had come to the second of three: all of them are tried now."""
    to = tuple(QueuedRecipient(parse_mailbox(f"{who}@y.example")) for who in "bcd")
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(spool, place=place, origin=CLIENT, recipients=to, resume_from=1)
        await spool.orders.place(order(orders[0]))
        async with delivering(spool):
            for action in orders[1:]:
                await history(spool, EventType.HELD)
                await spool.orders.place(order(action))
            [message] = await asyncio.wait_for(mx.received(1), patient(5))
        assert len(message.recipients) == 3


async def test_an_order_reaches_mail_that_was_being_sent_and_was_deferred() -> None:
    """Its next try may be hours away, when the order has ended."""
    spool = MemorySpool()
    ordering: list[asyncio.Future[None]] = []

    def script(line: bytes, count: int) -> bytes | None:
        if line == b"DATA":
            ordering.append(asyncio.ensure_future(spool.orders.place(order("delete"))))
        return b"451 4.2.1 busy\r\n" if line == b"." else None

    async with ScriptedMx(script) as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        [queue_id] = await send(spool, "b@y.example")
        async with delivering(spool):
            [event] = await history(spool, EventType.ADMIN_DELETE)
            await counted(spool, "delete", 1)
        assert event.queue_id == queue_id
        assert len(ordering) == 1, "it was tried once"
    assert await waiting(spool) == []


@pytest.mark.parametrize(("action", "notified"), [("bounce", 1), ("delete", 0)])
async def test_who_is_not_ended_while_the_mail_was_being_sent_waits_for_the_next_try(
    action: str, notified: int
) -> None:
    to = tuple(QueuedRecipient(parse_mailbox(f"{who}@y.example")) for who in "bcd")
    spool = MemorySpool()
    tries: list[asyncio.Future[None]] = []

    def script(line: bytes, count: int) -> bytes | None:
        if line == b"RCPT TO:<c@y.example>":
            placing = spool.orders.place(order(action, recipient="c@y.example"))
            tries.append(asyncio.ensure_future(placing))
            return b"451 4.2.1 busy\r\n"
        return b"451 4.2.1 busy\r\n" if line == b"RCPT TO:<d@y.example>" else None

    async with ScriptedMx(script) as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(spool, origin=CLIENT, recipients=to)
        async with delivering(spool):
            await counted(spool, action, 1)
            await asyncio.wait_for(mx.received(1 + notified), patient(5))
        [left] = [queued async for queued in spool.waiting.list(Selection())]
    assert len(tries) == 1
    assert (left.kind, left.record.attempts) == (WaitKind.DEFERRED, 1)
    assert [str(each.mailbox) for each in left.record.pending] == ["d@y.example"]


@pytest.mark.parametrize(
    ("action", "told"),
    [("delete", EventType.ADMIN_DELETE), ("hold", EventType.HELD)],
)
async def test_an_order_reaches_what_waits_for_its_turn_at_a_site(
    action: str, told: EventType
) -> None:
    """A slow site keeps hundreds of records in hand, of which only a few have begun."""
    spool = MemorySpool()
    silent = asyncio.Event()

    def script(line: bytes, count: int) -> bytes | None:
        if line == b"DATA":
            silent.set()
            return SILENCE
        return None

    async with ScriptedMx(script) as mx:
        await publish(spool, anywhere=to_smarthost(mx, connections=1))
        await send(spool, *(f"{n}@y.example" for n in range(5)))
        async with delivering(spool, finish=0):
            await asyncio.wait_for(silent.wait(), patient(5))
            await spool.orders.place(order(action))
            events = await history(spool, told, 4)
            await counted(spool, action, 4)
        assert len({event.queue_id for event in events}) == 4
