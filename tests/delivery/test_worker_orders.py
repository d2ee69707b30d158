"""Orders as delivery carries them out: retry, hold, release, bounce, delete, suspend."""

import asyncio

import pytest

from postroad.mail.address import parse_mailbox
from postroad.spool.event import EventType
from postroad.spool.interface import HOLD_LIMIT, Deferred, Held
from postroad.spool.lanes.lane import tail_lane
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import Hold, OnHoldExpiry, QueuedRecipient
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

ANYWHERE = pytest.mark.parametrize(
    "place", [None, Deferred(now() + HOUR), Held(now() + HOLD_LIMIT)]
)


async def test_a_retry_order_sends_what_waits_for_its_time() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        for address in ("b@y.example", "c@z.example"):
            await put(spool, address, place=Deferred(now() + HOUR), origin=CLIENT)
        async with delivering(spool):
            await spool.orders.place(order("retry", domain="y.example"))
            await asyncio.wait_for(mx.received(1), patient(5))
            await counted(spool, "retry", 1)
        assert await waiting(spool) == [(WaitKind.DEFERRED, "c@z.example")]


async def test_a_retry_order_means_all_that_waits_however_much_that_is() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        for _ in range(150):
            await put(spool, place=Deferred(now() + HOUR), origin=CLIENT)
        async with delivering(spool):
            await spool.orders.place(order("retry"))
            await asyncio.wait_for(mx.received(150), patient(20))
            await counted(spool, "retry", 150)
        assert await waiting(spool) == []


async def test_a_hold_keeps_mail_and_a_release_lets_it_go() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await send(spool, "b@y.example")
        await spool.orders.place(order("hold", domain="y.example"))
        async with delivering(spool):
            [held] = await history(spool, EventType.HELD)
            assert held.reason == "by order of the test"
            await send(spool, "c@y.example")
            await history(spool, EventType.DELIVERY)
            assert mx.messages[0].recipients == [b"RCPT TO:<c@y.example>"], "it came afterwards"
            assert await waiting(spool) == [(WaitKind.HELD, "b@y.example")]
            await spool.orders.place(order("release", domain="y.example"))
            await asyncio.wait_for(mx.received(2), patient(5))
        assert await waiting(spool) == []


async def test_an_order_begins_with_ones_own_lanes_and_ends_with_all_others() -> None:
    """So several processes share a long queue, and what one of them leaves is done by the rest."""
    spool = MemorySpool()
    idle = spool.take(pool="default", room=1, room_bytes=1)
    for number in range(40):
        await put(spool, f"b@d{number}.example", place=Deferred(now() + HOUR), origin=CLIENT)
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await spool.orders.place(order("hold"))
        async with delivering(spool) as (_, consumer):
            events = await history(spool, EventType.HELD, 40)
            own, every = consumer.lanes, len(consumer.lanes | idle.lanes)
    mine = [tail_lane(event.domain, every) in own for event in events]
    assert 0 < sum(mine) < 40
    assert all(mine[: sum(mine)])
    assert {kind for kind, _ in await waiting(spool)} == {WaitKind.HELD}


@ANYWHERE
async def test_a_bounce_order_tells_the_sender(place: Deferred | Held | None) -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(spool, place=place, origin=CLIENT)
        await spool.orders.place(order("bounce", recipient="b@y.example"))
        async with delivering(spool):
            [report] = await asyncio.wait_for(mx.received(1), patient(5))
            await history(spool, EventType.ADMIN_BOUNCE)
        assert report.mail.startswith(b"MAIL FROM:<> ")
        assert report.recipients == [b"RCPT TO:<a@x.example>"]
        assert b"Status: 5.7.1\r\n" in report.content
        reason = b"Diagnostic-Code: x-postroad; bounced by order: by order of the test\r\n"
        assert reason in report.content
        assert await waiting(spool) == []


@ANYWHERE
async def test_a_delete_order_removes_mail_and_tells_nobody(
    place: Deferred | Held | None,
) -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        queue_id = await put(spool, place=place, origin=CLIENT)
        await spool.orders.place(order("delete", recipient="b@y.example"))
        async with delivering(spool):
            [event] = await history(spool, EventType.ADMIN_DELETE)
            await counted(spool, "delete", 1)
            await put(spool, "c@y.example", origin=CLIENT)
            await asyncio.wait_for(mx.received(1), patient(5))
        assert (event.queue_id, event.reason) == (queue_id, "by order of the test")
        assert (event.client, event.size > 0) == (CLIENT.client, True)
        assert [message.recipients for message in mx.messages] == [[b"RCPT TO:<c@y.example>"]]
        assert await waiting(spool) == []


@ANYWHERE
@pytest.mark.parametrize(
    ("action", "told"),
    [("bounce", EventType.ADMIN_BOUNCE), ("delete", EventType.ADMIN_DELETE)],
)
async def test_to_end_mail_for_one_recipient_ends_it_for_nobody_else(
    action: str, told: EventType, place: Deferred | Held | None
) -> None:
    """What waits goes on waiting for the others: it is neither tried now, nor let out of a hold."""
    to = tuple(QueuedRecipient(parse_mailbox(f"{who}@y.example")) for who in "bcd")
    hold = Hold("Admin", note="ticket 5") if isinstance(place, Held) else None
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(spool, place=place, origin=CLIENT, recipients=to, hold=hold)
        await spool.orders.place(order(action, recipient="c@y.example"))
        async with delivering(spool):
            [event] = await history(spool, told)
            await counted(spool, action, 1)
            told_sender, delivered = int(action == "bounce"), int(place is None)
            messages = await asyncio.wait_for(mx.received(told_sender + delivered), patient(5))
        left = [queued async for queued in spool.waiting.list(Selection())]
    assert event.recipients == ("c@y.example",)
    assert sorted(message.recipients for message in messages) == sorted(
        [[b"RCPT TO:<b@y.example>", b"RCPT TO:<d@y.example>"]] * delivered
        + [[b"RCPT TO:<a@x.example>"]] * told_sender
    )
    reports = [message.content for message in messages if b"report-type" in message.content]
    assert all(report.count(b"Final-Recipient:") == 1 for report in reports)
    if place is not None:
        [queued] = left
        assert [str(each.mailbox) for each in queued.record.pending] == [
            "b@y.example",
            "d@y.example",
        ]
        when = place.due if isinstance(place, Deferred) else place.until
        assert (queued.due, queued.record.hold) == (when, hold)


@pytest.mark.parametrize("place", [None, Deferred(now() + HOUR)])
async def test_every_way_into_a_hold_keeps_the_reason(place: Deferred | None) -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(spool, place=place, origin=CLIENT)
        await spool.orders.place(order("hold"))
        async with delivering(spool):
            [event] = await history(spool, EventType.HELD)
        assert event.reason == "by order of the test"
        assert (event.client, event.size > 0) == (CLIENT.client, True)
        [queued] = [queued async for queued in spool.waiting.list(Selection())]
        assert queued.record.hold is not None
        assert (queued.record.hold.reason, queued.record.hold.note) == (
            "Admin",
            "by order of the test",
        )


@pytest.mark.parametrize(
    ("action", "place", "told"),
    [
        ("retry", Deferred(now() + HOUR), EventType.RETRIED),
        ("release", Held(now() + HOLD_LIMIT), EventType.RELEASED),
    ],
)
async def test_the_history_tells_why_mail_went_on(
    action: str, place: Deferred | Held, told: EventType
) -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(spool, place=place, origin=CLIENT)
        await spool.orders.place(order(action))
        async with delivering(spool):
            [event] = await history(spool, told)
            await asyncio.wait_for(mx.received(1), patient(5))
        assert event.reason == "by order of the test"
        assert (event.client, event.size > 0) == (CLIENT.client, True)


@pytest.mark.parametrize("on_expiry", list(OnHoldExpiry))
async def test_a_hold_that_ends_by_itself_does_what_it_says(on_expiry: OnHoldExpiry) -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(spool, origin=CLIENT, hold=Hold("Quota", on_expiry))
        async with delivering(spool):
            [message] = await asyncio.wait_for(mx.received(1), patient(5))
        to = b"<b@y.example>" if on_expiry is OnHoldExpiry.RELEASE else b"<a@x.example>"
        assert message.recipients == [b"RCPT TO:" + to]


@pytest.mark.parametrize(
    ("action", "place"),
    [
        ("bounce", None),
        ("delete", Deferred(now() + HOUR)),
        ("hold", Deferred(now() + HOUR)),
        ("release", Held(now() + HOLD_LIMIT)),
    ],
)
async def test_an_order_is_carried_out_though_nothing_is_configured(
    action: str, place: Deferred | Held | None
) -> None:
    spool = MemorySpool()
    await publish(spool)  # a configuration without an object
    await put(spool, "b@y.example", place=place)
    given = order(action)
    await spool.orders.place(given)
    async with delivering(spool):
        done = {
            "bounce": EventType.ADMIN_BOUNCE,
            "delete": EventType.ADMIN_DELETE,
            "hold": EventType.HELD,
            "release": EventType.RELEASED,
        }
        await history(spool, done[action])
