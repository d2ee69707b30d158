"""How many records an order has changed: each counts once, and only if it was changed."""

import asyncio
from collections.abc import Sequence

import pytest

from postroad.delivery.order_counts import OrderCounts
from postroad.mail.address import parse_mailbox
from postroad.spool.event import Event, EventType
from postroad.spool.ids import new_queue_id
from postroad.spool.interface import Deferred, LeasedRecord, Put
from postroad.spool.memory.consumer import MemoryConsumer
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import QueuedRecipient, QueueRecord
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
)
from postroad.testing.queue.queued_mail import now, put, record


def mail(to: str) -> QueueRecord:
    return record(new_queue_id(now(), 0), f"{to}@y.example")


def come_again(monkeypatch: pytest.MonkeyPatch, *, is_settled: bool) -> list[LeasedRecord]:
    """Let the first record that is settled come again as it was."""
    settle, given_back = MemoryConsumer.settle, list[LeasedRecord]()

    async def settle_but_the_first(
        self: MemoryConsumer,
        leased: LeasedRecord,
        puts: Sequence[Put] = (),
        events: Sequence[Event] = (),
    ) -> bool:
        if given_back:
            return await settle(self, leased, puts, events)
        given_back.append(leased)
        await self.give_back(leased)
        return is_settled

    monkeypatch.setattr(MemoryConsumer, "settle", settle_but_the_first)
    return given_back


@pytest.fixture
def first_settle_fails(monkeypatch: pytest.MonkeyPatch) -> list[LeasedRecord]:
    """Give the first record that is settled back: storage is full, or its lease over."""
    return come_again(monkeypatch, is_settled=False)


@pytest.fixture
def first_comes_back(monkeypatch: pytest.MonkeyPatch) -> list[LeasedRecord]:
    """Bring the first record that has ended back, as servers do that were killed or are full."""
    return come_again(monkeypatch, is_settled=True)


async def all_told(spool: MemorySpool) -> None:
    """Wait until what was counted is told: another order's count is, which comes after it."""
    await put(spool, "b@last.example", place=Deferred(now() + HOUR), origin=CLIENT)
    await spool.orders.place(order("hold", domain="last.example"))
    await counted(spool, "hold", 1)


async def counts_once(comes_again: list[LeasedRecord]) -> None:
    """Bounce a record that comes again, and see that it was counted once."""
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await send(spool, "b@y.example")
        await spool.orders.place(order("bounce", domain="y.example"))
        async with delivering(spool):
            await asyncio.wait_for(mx.received(1), patient(5))
            await all_told(spool)
        assert await spool.orders.reports("bounce") == {"tests": 1}
    assert len(comes_again) == 1


async def test_a_record_that_comes_again_as_it_was_is_counted_once(
    first_settle_fails: list[LeasedRecord],
) -> None:
    await counts_once(first_settle_fails)


async def test_a_record_that_the_servers_bring_back_is_counted_once(
    first_comes_back: list[LeasedRecord],
) -> None:
    await counts_once(first_comes_back)


async def test_a_record_that_comes_back_counts_in_no_later_order_but_its_next_form_does() -> None:
    spool, counts, changed = MemorySpool(), OrderCounts(), mail("b")
    counts.add(changed, ["delete", "hold"])
    counts.add(changed, ["delete"])
    counts.add(changed, ["later"])
    counts.add(changed.next_step(), ["later"])
    telling = asyncio.create_task(counts.run(spool.orders, "tests"))
    for name in ("delete", "hold", "later"):
        await counted(spool, name, 1)
    telling.cancel()


async def test_a_recipient_that_is_ended_twice_is_counted_once(
    first_settle_fails: list[LeasedRecord],
) -> None:
    """An order comes while the mail is being sent, and what follows of that cannot be stored."""
    to = tuple(QueuedRecipient(parse_mailbox(f"{who}@y.example")) for who in "bc")
    spool = MemorySpool()
    spool.store.lanes = 1  # else it would be moved to its site's lane
    ordering: list[asyncio.Future[None]] = []

    def script(line: bytes, count: int) -> bytes | None:
        if line != b"DATA":
            return None
        if not ordering:
            placing = spool.orders.place(order("delete", recipient="c@y.example"))
            ordering.append(asyncio.ensure_future(placing))
        return b"451 4.2.1 busy\r\n"

    async with ScriptedMx(script) as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(spool, origin=CLIENT, recipients=to)
        async with delivering(spool):
            await history(spool, EventType.ADMIN_DELETE)
            await all_told(spool)
        assert await spool.orders.reports("delete") == {"tests": 1}
    assert len(first_settle_fails) == 1


async def test_a_retry_counts_what_waited_as_it_was_given() -> None:
    """What was put off just after may have been tried by it before: it is tried, not counted."""
    spool = MemorySpool()
    early = now() - HOUR
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(spool, "b@y.example", place=Deferred(now() + HOUR), origin=CLIENT)
        await spool.orders.place(order("retry", domain="y.example"))
        place = Deferred(now() + HOUR)
        await put(spool, "c@y.example", place=place, origin=CLIENT, arrival=early)
        async with delivering(spool):
            await asyncio.wait_for(mx.received(2), patient(5))
            await counted(spool, "retry", 1)


async def test_a_process_that_starts_again_adds_to_what_it_had_told() -> None:
    spool = MemorySpool()
    await spool.orders.report("hold", "tests", 5)
    counts = OrderCounts()
    counts.add(mail("b"), ["hold"])
    counts.add(mail("c"), ["hold"])
    telling = asyncio.create_task(counts.run(spool.orders, "tests"))
    await counted(spool, "hold", 7)
    counts.add(mail("d"), ["hold"])
    await counted(spool, "hold", 8)
    telling.cancel()
