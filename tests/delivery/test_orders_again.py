"""Orders in force when a process starts: changes that other processes made by them stay."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from postroad.spool.event import EventType
from postroad.spool.interface import HOLD_LIMIT, Deferred, Held, Queued
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import Hold
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
    to_smarthost,
    waiting,
)
from postroad.testing.queue.queued_mail import now, put, record


async def test_a_release_lets_no_mail_go_that_was_held_after_it() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        poison = Hold("Poison")
        await put(spool, "b@y.example", place=Held(now() + HOLD_LIMIT), hold=poison, origin=CLIENT)
        await spool.orders.place(order("release"))
        await put(
            spool,
            "c@y.example",
            place=Held(now() + HOLD_LIMIT),
            hold=poison,
            origin=CLIENT,
            arrival=now() - HOUR,
        )
        async with delivering(spool):
            await asyncio.wait_for(mx.received(1), patient(5))
            await counted(spool, "release", 1)
        assert await waiting(spool) == [(WaitKind.HELD, "c@y.example")]


async def test_a_release_undoes_no_hold_that_was_ordered_after_it_and_cancelled() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(spool, "b@y.example", place=Deferred(now() + HOUR), origin=CLIENT)
        await spool.orders.place(order("release"))
        await spool.orders.place(order("hold"))
        async with delivering(spool):
            await history(spool, EventType.HELD)
            await spool.orders.withdraw("hold")
        await put(spool, "c@y.example", place=Deferred(now() + HOUR), origin=CLIENT)
        await spool.orders.place(order("retry", domain="y.example"))
        async with delivering(spool):
            await asyncio.wait_for(mx.received(1), patient(5))
            await counted(spool, "retry", 1)  # the newest order, so that all have been looked at
        assert await waiting(spool) == [(WaitKind.HELD, "b@y.example")]


async def test_a_hold_that_is_made_late_counts_from_its_order() -> None:
    """A process that is slow to hold mail may do so when the release has been carried out."""
    spool = MemorySpool()
    ordered = now() - timedelta(minutes=1)
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await spool.orders.place(order("release"))
        made = Hold("Admin", ordered=ordered)
        early = now() - HOUR
        await put(spool, place=Held(now() + HOLD_LIMIT), hold=made, origin=CLIENT, arrival=early)
        async with delivering(spool):
            await asyncio.wait_for(mx.received(1), patient(5))
        assert await waiting(spool) == []


async def test_a_retry_does_not_try_what_was_tried_since() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(spool, "b@y.example", place=Deferred(now() + HOUR), origin=CLIENT)
        await spool.orders.place(order("retry"))
        await put(
            spool,
            "c@y.example",
            place=Deferred(now() + HOUR),
            origin=CLIENT,
            last_attempt=now(),
            arrival=now() - HOUR,
        )
        async with delivering(spool):
            await asyncio.wait_for(mx.received(1), patient(5))
            await counted(spool, "retry", 1)
        assert await waiting(spool) == [(WaitKind.DEFERRED, "c@y.example")]


async def test_a_retry_tries_what_was_put_off_by_who_had_not_heard_of_it() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await spool.orders.place(order("retry"))
        early = now() - HOUR
        await put(spool, place=Deferred(now() + HOUR), origin=CLIENT, arrival=early)
        async with delivering(spool):
            await asyncio.wait_for(mx.received(1), patient(5))


async def test_a_hold_takes_nothing_that_a_newer_order_has_let_go() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(spool, "b@y.example", place=Deferred(now() + HOUR), origin=CLIENT)
        await put(spool, "b@z.example", place=Deferred(now() + HOUR), origin=CLIENT)
        await spool.orders.place(order("hold"))
        await spool.orders.place(order("release", domain="y.example"))
        async with delivering(spool):
            await counted(spool, "hold", 1)
        found = await waiting(spool)
        assert found == [(WaitKind.HELD, "b@z.example"), (WaitKind.DEFERRED, "b@y.example")]


async def test_mail_that_cannot_be_claimed_yet_is_listed_less_and_less_often() -> None:
    """New mail that has to wait cannot be moved while storage is full, and each try lists all."""
    tries: list[float] = []
    spool = MemorySpool()
    coming = record(spool.new_queue_id(now()), waits_until=now() + HOUR)
    fourth = asyncio.Event()

    async def found(selection: Selection, *, at_once: int | None = None) -> AsyncIterator[Queued]:
        assert WaitKind.READY not in selection.kinds
        tries.append(asyncio.get_running_loop().time())
        if len(tries) == 8:  # its own lanes, then all others
            fourth.set()
        key = Key(QueueStream.INTAKE, 0, 1)
        yield Queued(coming, WaitKind.HELD, now() + HOUR, key, "pr.i.0.h", now())

    spool.waiting.list = found  # type: ignore[method-assign]
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await spool.orders.place(order("delete"))
        async with delivering(spool):
            await asyncio.wait_for(fourth.wait(), patient(10))
    assert tries[7] - tries[0] > 1.75, "pauses of a quarter, half and one second at least"
