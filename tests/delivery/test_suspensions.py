"""Suspended destinations, and their mail meanwhile."""

import asyncio
from datetime import timedelta

import pytest

from postroad.cli.queue.listing import last_reply
from postroad.mail.address import parse_mailbox
from postroad.policy.model import EgressPath
from postroad.spool.agreement import Order
from postroad.spool.event import EventType
from postroad.spool.interface import HOLD_LIMIT, Held
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import BlobRef, Hold, LastReply, OnHoldExpiry, QueuedRecipient
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
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


def suspension(length: timedelta = HOUR) -> Order:
    selection = Selection(domain="y.example", kinds=frozenset({WaitKind.READY}))
    return Order("suspend", "suspend", selection, now(), now() + length, None, "maintenance")


async def test_a_suspension_keeps_what_waits_and_what_comes_until_it_ends() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await send(spool, "a@y.example")
        await spool.orders.place(suspension())
        async with delivering(spool):
            await send(spool, "b@y.example", "c@z.example")
            await asyncio.wait_for(mx.received(1), patient(5))
            await counted(spool, "suspend", 2)
            kept = [(WaitKind.DEFERRED, f"{name}@y.example") for name in "ab"]
            assert await waiting(spool) == kept
            [first_one, _] = [queued async for queued in spool.waiting.list(Selection())]
            assert first_one.record.attempts == 0
            assert last_reply(first_one.record) == "suspended: maintenance"
            await spool.orders.withdraw("suspend")
            await spool.orders.place(order("retry", domain="y.example"))
            await asyncio.wait_for(mx.received(3), patient(5))
        assert await waiting(spool) == []


@pytest.mark.parametrize(("length", "latest"), [(5, 5), (600, 18)])
async def test_suspended_mail_is_looked_at_when_it_ends_and_every_quarter_of_an_hour(
    length: int, latest: int
) -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await send(spool, "b@y.example")
        placed = suspension(timedelta(minutes=length))
        await spool.orders.place(placed)
        async with delivering(spool):
            await counted(spool, "suspend", 1)
    [queued] = [queued async for queued in spool.waiting.list(Selection())]
    assert queued.due is not None
    assert placed.placed < queued.due <= now() + timedelta(minutes=latest)
    assert mx.messages == []


async def test_a_suspension_is_no_way_out_of_a_hold_that_ends_in_a_bounce() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(spool, origin=CLIENT, hold=Hold("Quota", OnHoldExpiry.BOUNCE))
        await spool.orders.place(suspension())
        async with delivering(spool):
            [message] = await asyncio.wait_for(mx.received(1), patient(5))
        assert message.recipients == [b"RCPT TO:<a@x.example>"]


async def test_a_release_ends_no_suspension() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(spool, place=Held(now() + HOLD_LIMIT), hold=Hold("Admin"), origin=CLIENT)
        await put(spool, "c@z.example", place=Held(now() + HOLD_LIMIT), origin=CLIENT)
        await spool.orders.place(suspension())
        async with delivering(spool):
            await spool.orders.place(order("release"))
            await counted(spool, "suspend", 1)
            await asyncio.wait_for(mx.received(1), patient(5))
            assert await waiting(spool) == [(WaitKind.DEFERRED, "b@y.example")]
            await spool.orders.withdraw("suspend")
            await spool.orders.place(order("retry"))
            await asyncio.wait_for(mx.received(2), patient(5))
    assert await waiting(spool) == []


async def test_a_release_after_a_retry_that_ended_a_suspension_leaves_it_ended() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await send(spool, "b@y.example")
        for given in (suspension(), order("retry", domain="y.example"), order("release")):
            await spool.orders.place(given)
        async with delivering(spool):
            await asyncio.wait_for(mx.received(1), patient(5))


@pytest.mark.parametrize("late", [HOUR, timedelta(seconds=1)])
async def test_mail_held_past_its_time_does_not_expire_for_a_suspension(late: timedelta) -> None:
    tried = QueuedRecipient(parse_mailbox("b@y.example"), last=LastReply("451 busy", now()))
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(
            spool,
            place=Held(now() + HOLD_LIMIT),
            hold=Hold("Admin"),
            origin=CLIENT,
            recipients=(tried,),
            deadline=now() - late,
        )
        await spool.orders.place(suspension())
        async with delivering(spool):
            await spool.orders.place(order("release"))
            await counted(spool, "suspend", 1)
            assert await waiting(spool) == [(WaitKind.DEFERRED, "b@y.example")]
            await spool.orders.withdraw("suspend")
            await spool.orders.place(order("retry"))
            [message] = await asyncio.wait_for(mx.received(1), patient(5))
    assert message.recipients == [b"RCPT TO:<b@y.example>"]


async def test_suspended_mail_expires_at_its_deadline_and_the_sender_is_told_why() -> None:
    spool = MemorySpool()
    tried = LastReply("451 4.2.1 busy", now(), "4.2.1", "mx.y.example")
    recipient = QueuedRecipient(parse_mailbox("b@y.example"), last=tried)
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await spool.orders.place(suspension())
        async with delivering(spool):
            deadline = now() + timedelta(seconds=2)
            await send(spool, "b@y.example", recipients=(recipient,), deadline=deadline)
            await send(spool, "c@y.example", deadline=deadline)
            expired = await history(spool, EventType.EXPIRATION, 2)
            messages = await asyncio.wait_for(mx.received(2), patient(5))
    assert all(event.at >= deadline for event in expired)
    assert [message.recipients for message in messages] == [[b"RCPT TO:<a@x.example>"]] * 2
    reports = b"".join(each.content.replace(b"\r\n ", b" ") for each in messages).splitlines()
    assert sorted(line for line in reports if line.startswith(b"Diagnostic-Code: ")) == [
        b"Diagnostic-Code: x-postroad; expired, suspended: maintenance",
        b"Diagnostic-Code: x-postroad; expired, suspended: maintenance; last:"
        b" mx.y.example said 451 4.2.1 busy",
    ]


async def test_suspended_mail_that_lives_for_less_than_a_minute_waits_for_its_deadline() -> None:
    spool, deadline = MemorySpool(), now() + timedelta(seconds=40)
    await publish(spool, anywhere=EgressPath("relay:shop/a"))
    await send(spool, "b@y.example", deadline=deadline)
    await spool.orders.place(suspension())
    async with delivering(spool):
        await counted(spool, "suspend", 1)
    [queued] = [queued async for queued in spool.waiting.list(Selection())]
    assert (queued.kind, queued.due) == (WaitKind.DEFERRED, deadline)


async def test_mail_is_tried_where_its_suspension_ends_in_the_last_minute_of_its_life() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await send(spool, "b@y.example", deadline=now() + timedelta(seconds=40))
        await spool.orders.place(suspension(timedelta(seconds=1)))
        async with delivering(spool):
            [message] = await asyncio.wait_for(mx.received(1), patient(10))
    assert message.recipients == [b"RCPT TO:<b@y.example>"]


async def test_suspended_mail_whose_body_may_not_live_so_long_is_held() -> None:
    spool = MemorySpool()
    await publish(spool, anywhere=EgressPath("relay:shop/a"))
    body = BlobRef(0, "there", 1, 10, b"", destinations=1)
    await send(spool, "b@y.example", content=body, deadline=now() - HOLD_LIMIT - HOUR)
    await spool.orders.place(suspension())
    async with delivering(spool):
        [held] = await history(spool, EventType.HELD)
    assert held.reason == "suspended: maintenance"


async def test_mail_that_is_deferred_as_it_is_suspended_keeps_its_schedule() -> None:
    spool = MemorySpool()

    def script(line: bytes, count: int) -> bytes | None:
        if line == b"DATA":
            placing.append(asyncio.ensure_future(spool.orders.place(suspension())))
        return b"451 4.2.1 busy\r\n" if line == b"." else None

    placing: list[asyncio.Future[None]] = []
    async with ScriptedMx(script) as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await send(spool, "b@y.example")
        async with delivering(spool):
            await history(spool, EventType.TRANSIENT_FAILURE)
        [queued] = [queued async for queued in spool.waiting.list(Selection())]
    assert queued.due is not None
    assert queued.due > now() + timedelta(minutes=45), "an hour and its jitter, no quarter"
