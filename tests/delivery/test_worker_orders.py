"""People's orders to delivery, its draining, and its own mistakes."""

import asyncio
from datetime import timedelta

import pytest

from postroad.cli.queue_listing import last_reply
from postroad.delivery.attempt import Attempt
from postroad.delivery.directions import Directions
from postroad.delivery.order_counts import OrderCounts
from postroad.delivery.routing import NoRoute, Route
from postroad.policy.model import RetrySchedule, SiteLimits, Smarthost, TlsMode, WayOut
from postroad.runtime.metrics import REGISTRY
from postroad.spool.agreement import Order
from postroad.spool.event import EventType
from postroad.spool.interface import HOLD_LIMIT, Held, Scheduled
from postroad.spool.lanes import tail_lane
from postroad.spool.memory import MemorySpool
from postroad.spool.memory_taking import MemoryTaking
from postroad.spool.record import Hold, OnHoldExpiry
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.delivery import CLIENT, delivering, history, publish, send
from postroad.testing.mx import SILENCE, ScriptedMx
from postroad.testing.patience import patient
from postroad.testing.queued_mail import first, now, put

HOUR = timedelta(hours=1)
ANYWHERE = pytest.mark.parametrize(
    "place", [None, Scheduled(now() + HOUR), Held(now() + HOLD_LIMIT)]
)


def to_smarthost(mx: ScriptedMx, connections: int = 20) -> WayOut:
    return WayOut(
        "relay:shop/smart",
        (Smarthost("127.0.0.1", mx.port),),
        tls=TlsMode.NONE,
        retry=RetrySchedule(first=HOUR),
        limits=SiteLimits(connections=connections),
    )


def order(action: str, **selection: str) -> Order:
    placed = now()
    chosen = Selection(**selection)  # type: ignore[arg-type]
    return Order(action, action, chosen, placed, placed + HOUR, placed, "by order of the test")


async def counted(spool: MemorySpool, order_id: str, number: int) -> None:
    """Wait until the process has told how many records an order has changed."""
    async with asyncio.timeout(patient(10)):
        while dict(await spool.orders.reports(order_id)) != {"tests": number}:
            await asyncio.sleep(0.01)


async def waiting(spool: MemorySpool) -> list[tuple[WaitKind, str]]:
    found = [queued async for queued in spool.waiting.list(Selection())]
    return sorted((queued.kind, str(queued.record.recipients[0].mailbox)) for queued in found)


async def test_a_retry_order_sends_what_waits_for_its_time() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        for address in ("b@y.example", "c@z.example"):
            await put(spool, address, place=Scheduled(now() + HOUR), origin=CLIENT)
        async with delivering(spool):
            await spool.orders.place(order("retry", domain="y.example"))
            await asyncio.wait_for(mx.received(1), patient(5))
            await counted(spool, "retry", 1)
        assert await waiting(spool) == [(WaitKind.SCHEDULED, "c@z.example")]


async def test_a_retry_order_means_all_that_waits_however_much_that_is() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        for _ in range(150):
            await put(spool, place=Scheduled(now() + HOUR), origin=CLIENT)
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
        await put(spool, f"b@d{number}.example", place=Scheduled(now() + HOUR), origin=CLIENT)
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await spool.orders.place(order("hold"))
        async with delivering(spool) as (_, taking):
            events = await history(spool, EventType.HELD, 40)
            own, every = taking.lanes, len(taking.lanes | idle.lanes)
    mine = [tail_lane(event.domain, every) in own for event in events]
    assert 0 < sum(mine) < 40
    assert all(mine[: sum(mine)])
    assert {kind for kind, _ in await waiting(spool)} == {WaitKind.HELD}


@ANYWHERE
async def test_a_bounce_order_tells_the_sender(place: Scheduled | Held | None) -> None:
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
    place: Scheduled | Held | None,
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


async def test_a_process_that_starts_again_adds_to_what_it_had_told() -> None:
    spool = MemorySpool()
    await spool.orders.report("hold", "tests", 5)
    counts = OrderCounts()
    counts.add("hold", 2)
    telling = asyncio.create_task(counts.run(spool.orders, "tests"))
    await counted(spool, "hold", 7)
    counts.add("hold")
    await counted(spool, "hold", 8)
    telling.cancel()


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


@pytest.mark.parametrize("place", [None, Scheduled(now() + HOUR)])
async def test_every_way_into_a_hold_keeps_the_reason(place: Scheduled | None) -> None:
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
        assert queued.record.hold == Hold("Admin", note="by order of the test")


@pytest.mark.parametrize(
    ("action", "place", "told"),
    [
        ("retry", Scheduled(now() + HOUR), EventType.RETRIED),
        ("release", Held(now() + HOLD_LIMIT), EventType.RELEASED),
    ],
)
async def test_the_history_tells_why_mail_went_on(
    action: str, place: Scheduled | Held, told: EventType
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
            kept = [(WaitKind.SCHEDULED, f"{name}@y.example") for name in "ab"]
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


async def test_a_drain_finishes_what_is_being_sent_and_gives_the_rest_back() -> None:
    draining: list[asyncio.Task[None]] = []

    def script(line: bytes, count: int) -> bytes | None:
        if line == b"DATA" and count == 0:
            draining.append(asyncio.create_task(worker.drain(seconds=5)))
        return None

    spool = MemorySpool()
    async with ScriptedMx(script) as mx:
        await publish(spool, anywhere=to_smarthost(mx, connections=1))
        await send(spool, *(f"{n}@y.example" for n in range(5)))
        async with delivering(spool) as (worker, _):
            await history(spool, EventType.DELIVERY)
            await asyncio.wait_for(draining[0], patient(5))
        assert len(mx.messages) == 1
        assert [kind for kind, _ in await waiting(spool)] == [WaitKind.READY] * 4
        async with delivering(spool):
            await asyncio.wait_for(mx.received(5), patient(5))
    assert await waiting(spool) == []


async def test_a_drain_does_not_wait_for_what_finds_its_hosts_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()
    found = Directions.find

    async def slowly(self: Directions, way_out: WayOut, domain: str) -> Route | NoRoute:
        asked.set()
        await answer.wait()
        return await found(self, way_out, domain)

    monkeypatch.setattr(Directions, "find", slowly)
    spool = MemorySpool()
    spool.store.lanes = 1  # else it would be moved to its site's lane
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await send(spool, "b@y.example")
        async with delivering(spool) as (worker, _):
            await asyncio.wait_for(asked.wait(), patient(5))
            draining = asyncio.create_task(worker.drain(seconds=60))
            await asyncio.sleep(0)  # it has begun
            answer.set()
            await asyncio.wait_for(draining, patient(5))
        assert mx.messages == []
    assert await waiting(spool) == [(WaitKind.READY, "b@y.example")]


async def test_what_waits_of_a_lane_is_left_to_its_next_owner() -> None:
    """Scaling out must not let a site have one worker's connections and another's besides."""
    spool = MemorySpool()
    spool.store.lanes = 1
    last, joined = asyncio.Event(), list[MemoryTaking]()

    def script(line: bytes, count: int) -> bytes | None:
        if line == b"DATA" and count == 0:
            # Of two takers this lane is the second's; one of them has to be first.
            joined.append(spool.take(pool="default", room=100, room_bytes=10_000_000))
            last.set()
        return None

    async with ScriptedMx(script) as mx:
        await publish(spool, anywhere=to_smarthost(mx, connections=1))
        await send(spool, *(f"{n}@y.example" for n in range(5)))
        async with delivering(spool):
            await history(spool, EventType.DELIVERY)
            await asyncio.wait_for(last.wait(), patient(5))
            taken = await asyncio.wait_for(first(joined[0], 4), patient(5))
        assert len(mx.messages) == 1
        assert len({each.record.record_id for each in taken}) == 4
        await joined[0].close()


async def test_a_record_whose_lane_is_left_while_its_hosts_are_looked_up_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spool = MemorySpool()
    spool.store.lanes = 1
    joined: list[MemoryTaking] = []
    found = Directions.find

    async def slowly(self: Directions, way_out: WayOut, domain: str) -> Route | NoRoute:
        # Of two takers this lane is the second's.
        joined.append(spool.take(pool="default", room=100, room_bytes=10_000_000))
        return await found(self, way_out, domain)

    monkeypatch.setattr(Directions, "find", slowly)
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await send(spool, "b@y.example")
        async with delivering(spool):
            async with asyncio.timeout(patient(5)):
                while not joined:
                    await asyncio.sleep(0)
                [taken] = await first(joined[0], 1)
        assert mx.messages == []
        assert str(taken.record.recipients[0].mailbox) == "b@y.example"
        await joined[0].close()


async def test_a_record_whose_lease_is_in_doubt_is_dropped_unsent() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        async with delivering(spool) as (_, taking):
            assert isinstance(taking, MemoryTaking)
            taking.stale = True
            await send(spool, "b@y.example")
            async with asyncio.timeout(patient(5)):
                while mx.connections == 0 or mx.open_now:
                    await asyncio.sleep(0)
        assert mx.messages == []
        assert await waiting(spool) == [(WaitKind.READY, "b@y.example")], "it comes again"


async def test_an_error_of_ours_is_a_deferral(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(attempt: Attempt) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Attempt, "run", broken)
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        async with delivering(spool):
            await send(spool, "b@y.example")
            [event] = await history(spool, EventType.TRANSIENT_FAILURE)
        assert event.reply == "an error of ours"
        assert "bug" not in str(event), "the log has the cause, the history does not"
        assert await waiting(spool) == [(WaitKind.SCHEDULED, "b@y.example")]


async def test_what_finds_no_room_at_its_site_is_parked_and_not_lost() -> None:
    def parked() -> float:
        return REGISTRY.get_sample_value("postroad_delivery_parked_total") or 0.0

    spool, before = MemorySpool(), parked()
    async with ScriptedMx(slowness=0.3) as mx:
        await publish(spool, anywhere=to_smarthost(mx, connections=1))
        await send(spool, *(f"{n}@y.example" for n in range(6)))
        async with delivering(spool, room=4):
            messages = await asyncio.wait_for(mx.received(6), patient(15))
        assert len({message.recipients[0] for message in messages}) == 6
    assert parked() > before
    assert await waiting(spool) == []


@pytest.mark.parametrize(
    ("action", "place"),
    [
        ("bounce", None),
        ("delete", Scheduled(now() + HOUR)),
        ("hold", Scheduled(now() + HOUR)),
        ("release", Held(now() + HOLD_LIMIT)),
    ],
)
async def test_an_order_is_carried_out_though_nothing_is_configured(
    action: str, place: Scheduled | Held | None
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
