"""Records in hand during failures: restarts, crashes, slow attempts."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from postroad.mail.address import parse_mailbox
from postroad.mail.traffic import TrafficClass
from postroad.spool.interface import Deferred, LeasedRecord, Put, RecordConsumer
from postroad.spool.jetstream.consume.consumer import JetStreamConsumer
from postroad.spool.jetstream.consume.leases import Leases
from postroad.spool.jetstream.consume.poison.suspects import POISON, SUSPECT
from postroad.spool.jetstream.consume.pull.puller import Puller
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import lane_consumer, stream_name
from postroad.spool.jetstream.timings import Timings
from postroad.spool.lanes.keys import QueueStream
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.spool.record import QueuedRecipient, RecipientState
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import (
    QUICK,
    all_that_comes,
    crash,
    crash_process,
    first,
    now,
    put,
    record,
    take,
)

pytestmark = pytest.mark.nats

OpenJetStream = Callable[..., Awaitable[JetStreamSpool]]
ALL = Selection()
LATER = timedelta(hours=1)
BULK = lane_consumer("default", TrafficClass.BULK, "")  # how the names of its consumers begin


async def waiting(spool: JetStreamSpool) -> list[WaitKind]:
    return sorted([queued.kind async for queued in spool.waiting.list(ALL)])


async def until_empty(spool: JetStreamSpool) -> None:
    async with asyncio.timeout(patient(20)):
        while await waiting(spool):
            await asyncio.sleep(0.05)


@pytest.mark.usefixtures("operator")
async def test_a_hundred_in_hand_survive_the_servers_death_and_none_comes_twice(
    open_spool: OpenJetStream, server: NatsServer
) -> None:
    spool = await open_spool()
    for number in range(100):
        await put(spool, f"b{number}@y.example")
    # All are of one lane. Its other shards' requests take places until they run out.
    consumer = spool.take(pool="default", room=1000, room_bytes=50_000_000)
    leased = await first(consumer, 100)
    again: list[LeasedRecord] = []

    async def watch() -> None:
        async for one in consumer:
            again.append(one)  # noqa: PERF401 - what came so far is looked at while it goes on

    watching = asyncio.create_task(watch())
    await server.restart()
    async with asyncio.timeout(patient(40)):
        await asyncio.gather(*(consumer.settle(one) for one in leased))
    await until_empty(spool)
    assert again == []
    watching.cancel()
    await consumer.close()


@pytest.mark.usefixtures("operator")
async def test_what_is_delivered_in_a_drain_ends_though_the_server_forgot_who_had_it(
    open_spool: OpenJetStream, server: NatsServer
) -> None:
    """The process asks for nothing more, so nothing comes again by which it could tell."""
    spool, heir = await open_spool(), await open_spool()
    for number in range(20):
        await put(spool, f"b@d{number}.example")
    consumer = take(spool)
    leased = await first(consumer, 20)
    await consumer.stop()
    await server.restart()
    async with asyncio.timeout(patient(20)):
        await asyncio.gather(*(consumer.settle(one) for one in leased))
    await consumer.close()
    assert await all_that_comes(heir) == []
    assert await waiting(heir) == []


async def test_the_dead_owners_mail_is_taken_up(open_spool: OpenJetStream) -> None:
    dead, heir = await open_spool(), await open_spool()
    queue_ids = {await put(dead, f"b{number}@d{number}.example") for number in range(20)}
    consumer = take(dead)
    await first(consumer, 20)
    assert isinstance(consumer, JetStreamConsumer)
    await crash(consumer)
    await dead.close()
    successor = take(heir)
    async with asyncio.timeout(patient(20)):
        leased = await first(successor, 20)
    assert {one.record.record_id.queue_id for one in leased} == queue_ids
    assert all(one.deliveries >= 2 for one in leased)
    for one in leased:
        await successor.settle(one)
    await successor.close()


async def test_a_failure_beside_the_mail_is_told_and_counted(open_spool: OpenJetStream) -> None:
    """It was told when the task's memory was reclaimed, if ever."""
    spool = await open_spool()
    await put(spool)
    consumer, before, came = take(spool), INTERNAL_ERRORS.value, asyncio.Event()
    [leased] = await first(consumer, 1)

    def ended() -> None:
        came.set()
        raise ValueError("nobody planned this")

    consumer.drop(leased)  # the queue's answer to its end would have come first
    with capture_logs() as lines:
        consumer.finish(leased, (), ended)
        async with asyncio.timeout(patient(5)):
            await came.wait()
            while INTERNAL_ERRORS.value == before:
                await asyncio.sleep(0)
    assert [line["part"] for line in lines] == ["Acknowledger._settle_then"]
    await consumer.close()


async def test_lanes_are_shared_and_move_when_a_process_joins(open_spool: OpenJetStream) -> None:
    one, other = await open_spool(), await open_spool()
    first_taking, second_taking = take(one), take(other)
    tasks = [asyncio.create_task(_settle_all(t)) for t in (first_taking, second_taking)]
    async with asyncio.timeout(patient(20)):
        while not _both_own(first_taking, second_taking):
            await asyncio.sleep(0.1)
    for number in range(40):
        await put(one, f"b@d{number}.example")
    await until_empty(one)
    for consumer in (first_taking, second_taking):
        await consumer.stop()
        await consumer.close()
    await asyncio.gather(*tasks)


async def test_what_was_on_its_way_as_its_lane_was_left_goes_back(
    spool: JetStreamSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next owner keeps its site's limits, and does not know of ours."""
    await put(spool)
    consumer = take(spool)
    async with asyncio.timeout(patient(10)):
        [earlier] = await first(consumer, 1)  # what was there before it came is looked at anyway
        served = iter([False])
        monkeypatch.setattr(Puller, "serves", lambda *_: next(served, True))
        await put(spool)
        [leased] = await first(consumer, 1)
    assert leased.deliveries == 2
    for each in (earlier, leased):
        await consumer.settle(each)
    await consumer.close()


@pytest.mark.usefixtures("operator")
async def test_no_lane_has_two_owners_though_the_server_forgot_all_sessions(
    open_spool: OpenJetStream, server: NatsServer
) -> None:
    slow = replace(QUICK, renewal=timedelta(seconds=1.3))  # it writes its session again late
    one, other = await open_spool(), await open_spool(timings=slow)
    consumers = take(one), take(other)
    tasks = [asyncio.create_task(_settle_all(consumer)) for consumer in consumers]
    async with asyncio.timeout(patient(20)):
        while not _both_own(*consumers):
            await asyncio.sleep(0.1)
    before = consumers[0].lanes
    await server.restart()
    async with asyncio.timeout(patient(20)):
        while not (one.sessions.resets and other.sessions.resets and _both_own(*consumers)):
            assert not consumers[0].lanes & consumers[1].lanes
            await asyncio.sleep(0.05)
    assert consumers[0].lanes == before
    for consumer in consumers:
        await consumer.stop()
        await consumer.close()
    await asyncio.gather(*tasks)


def _both_own(one: RecordConsumer, other: RecordConsumer) -> bool:
    mine, theirs = one.lanes, other.lanes
    return bool(mine) and bool(theirs) and not mine & theirs and len(mine | theirs) == 8


async def _settle_all(consumer: object) -> None:
    assert isinstance(consumer, JetStreamConsumer)
    async for leased in consumer:
        await consumer.settle(leased)


async def test_a_slow_attempt_keeps_its_lease(spool: JetStreamSpool) -> None:
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    more = asyncio.ensure_future(first(consumer, 1))
    done, _ = await asyncio.wait([more], timeout=5)  # more than twice ack_wait
    assert not done
    assert consumer.fresh(leased)
    await consumer.settle(leased)
    more.cancel()
    assert await waiting(spool) == []
    await consumer.close()


async def test_a_process_that_cannot_renew_starts_nothing(
    spool: JetStreamSpool, server: NatsServer
) -> None:
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    assert consumer.fresh(leased)
    server.freeze()
    try:
        async with asyncio.timeout(patient(10)):
            while consumer.fresh(leased):
                await asyncio.sleep(0.05)
        assert not await consumer.confirm(leased)
    finally:
        server.thaw()
    async with asyncio.timeout(patient(20)):
        while not await consumer.confirm(leased):
            await asyncio.sleep(0.05)
    await consumer.settle(leased)
    await consumer.close()


@pytest.mark.parametrize("ended", [True, False], ids=["ended by another", "not ended"])
async def test_what_is_left_of_mail_whose_lease_is_in_doubt_is_put_off_unless_another_has_ended_it(
    spool: JetStreamSpool, link: Link, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    """One of two recipients has got it by us; the other, if another process had the record."""
    one, other = (QueuedRecipient(parse_mailbox(f"{name}@y.example")) for name in "bc")
    await put(spool, recipients=(one, other), place=Deferred(now()))
    consumer = take(spool)
    [leased] = await first(consumer, 1)

    async def in_doubt(*_: object) -> bool:
        return False

    monkeypatch.setattr(Leases, "confirm", in_doubt)
    if ended:
        [queued] = [queued async for queued in spool.waiting.list(ALL)]
        stream = stream_name(queued.key.stream, queued.key.shard)
        await link.jetstream.delete_msg(stream, queued.key.sequence)
    served = (replace(one, state=RecipientState.DELIVERED), other)
    follows = leased.record.next_step(recipients=served)
    await consumer.settle(leased, [Put(follows, Deferred(now() + LATER))])
    assert await waiting(spool) == ([] if ended else [WaitKind.DEFERRED])
    await consumer.close()


@pytest.mark.parametrize("stream", ["i.0.r", "q.0.r"])
async def test_what_cannot_be_read_is_held_and_kept(
    spool: JetStreamSpool, link: Link, stream: str
) -> None:
    consumer = take(spool)
    reading = asyncio.ensure_future(first(consumer, 1))
    lane = spool.lane_of(record("0" * 26))
    await link.jetstream.publish(f"pr.{stream}.default.x.{lane}.y_example", b"not a record")
    async with asyncio.timeout(patient(20)):
        while await waiting(spool) != [WaitKind.HELD]:
            await asyncio.sleep(0.1)
    [queued] = [q async for q in spool.waiting.list(ALL)]
    assert queued.record.hold is not None
    assert queued.record.hold.reason == "Unreadable"
    assert queued.record.content == b"not a record"
    reading.cancel()
    await consumer.close()


async def test_what_a_newer_process_wrote_is_left_to_it(spool: JetStreamSpool) -> None:
    await put(spool, needs=frozenset({"teleport"}))
    await put(spool, "c@y.example")
    consumer = take(spool)
    async with asyncio.timeout(patient(10)):
        [leased] = await first(consumer, 1)
    assert not leased.record.needs
    await consumer.settle(leased)
    assert await waiting(spool) == [WaitKind.READY]
    await consumer.close()


async def test_much_that_a_newer_process_wrote_holds_up_no_other_mail(
    spool: JetStreamSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was handed back counted as handed out, of which a consumer has so many at a time."""
    monkeypatch.setattr("postroad.spool.jetstream.consume.pull.lane_consumer.MAX_ACK_PENDING", 20)
    monkeypatch.setattr("postroad.spool.jetstream.consume.arrivals._RETURNS", 5)
    for _ in range(40):
        await put(spool, needs=frozenset({"teleport"}))
    await put(spool, "c@y.example")
    consumer = take(spool)
    async with asyncio.timeout(patient(10)):
        [leased] = await first(consumer, 1)
    assert not leased.record.needs
    await consumer.settle(leased)
    left = [queued.record.needs async for queued in spool.waiting.list(ALL)]
    assert left == [frozenset({"teleport"})] * 40
    await consumer.close()


async def test_what_older_processes_handed_back_is_no_poison_to_a_newer_one(
    open_spool: OpenJetStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "postroad.spool.jetstream.consume.arrivals._LATER", b'-NAK {"delay": 50000000}'
    )
    older = await open_spool()
    await put(older, needs=frozenset({"teleport"}))
    consumer = take(older)
    with pytest.raises(TimeoutError):  # long enough to be handed back more often than poison is
        async with asyncio.timeout(patient(3)):
            await first(consumer, 1)
    await consumer.close()
    monkeypatch.setattr(
        "postroad.spool.jetstream.consume.arrivals.KNOWN_FEATURES", frozenset({"teleport"})
    )
    newer = take(await open_spool())
    async with asyncio.timeout(patient(20)):
        [leased] = await first(newer, 1)
    assert leased.deliveries > SUSPECT + POISON
    assert leased.record.hold is None
    await newer.settle(leased)
    await newer.close()


async def test_leases_do_not_wait_for_a_stream_without_a_leader(
    open_spool: OpenJetStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a stream leaves the making of each lane's consumer unanswered for seconds."""
    spool = await open_spool()
    send, asked = Requests.send, asyncio.Event()

    async def unanswered_for_bulk(self: Requests, subject: str, *said: Any, **more: Any) -> Any:
        if subject.startswith(
            f"$JS.API.CONSUMER.CREATE.{stream_name(QueueStream.INTAKE, 0)}.{BULK}"
        ):
            asked.set()
            await asyncio.Event().wait()
        return await send(self, subject, *said, **more)

    monkeypatch.setattr(Requests, "send", unanswered_for_bulk)
    await put(spool)
    consumer = spool.take(pool="default", room=10, room_bytes=10_000_000)
    [leased] = await first(consumer, 1)
    await asked.wait()
    await asyncio.sleep(1.5 * QUICK.ack_wait.total_seconds())  # a lease that nobody extends is over
    assert consumer.fresh(leased)
    await consumer.settle(leased)
    await consumer.stop()
    await consumer.close()


async def test_a_lane_with_a_backlog_leaves_room_for_the_others(open_spool: OpenJetStream) -> None:
    spool = await open_spool()
    crowd, others = "b@y.example", [f"b@d{number}.example" for number in range(40)]
    crowded = spool.lane_of(record(spool.new_queue_id(now()), crowd))
    apart = [to for to in others if spool.lane_of(record(spool.new_queue_id(now()), to)) != crowded]
    await asyncio.gather(*(put(spool, crowd) for _ in range(600)))
    await asyncio.gather(*(put(spool, to) for to in apart))
    consumer = take(spool, room=400)
    leased: list[LeasedRecord] = []
    async with asyncio.timeout(patient(20)):
        async for one in consumer:
            leased.append(one)
            if {str(each.record.recipients[0].mailbox) for each in leased} >= set(apart):
                break
    assert sum(each.lane == crowded for each in leased) < 300
    await consumer.stop()
    await consumer.close()


async def test_a_process_that_starts_again_under_its_name_has_its_lanes_at_once(
    open_spool: OpenJetStream,
) -> None:
    """As a supervisor starts it: its last life's session would keep the lanes for 18 s."""
    slow = Timings()
    dead = await open_spool(process="delivery-0", timings=slow)
    consumer = take(dead)
    await put(dead)
    await first(consumer, 1)
    await crash_process(dead, consumer)
    again = await open_spool(process="delivery-0", timings=slow)
    successor = take(again)
    queue_id = await put(again, "c@other.example")
    async with asyncio.timeout(slow.session_life.total_seconds() / 2):
        while True:
            [leased] = await first(successor, 1)
            await successor.settle(leased)
            if leased.record.record_id.queue_id == queue_id:
                break
    await successor.close()


async def test_processes_that_go_by_their_roles_name_leave_each_other_alone(
    open_spool: OpenJetStream,
) -> None:
    one = await open_spool(process="", timings=Timings())
    other = await open_spool(process="", timings=Timings())
    ids = {info.session_id for info in await other.sessions.live()}
    assert ids == {one.sessions.session_id, other.sessions.session_id}


async def test_who_stops_gives_back_what_it_has_in_hand(spool: JetStreamSpool, link: Link) -> None:
    """It would lie until its lease has run out."""
    heard = await link.client.subscribe("$JS.ACK.>")
    for number in range(3):
        await put(spool, f"b@d{number}.example")
    consumer = take(spool)
    async with asyncio.timeout(patient(20)):
        await first(consumer, 3)
        await consumer.close()
        assert [(await heard.next_msg()).data for _ in range(3)] == [b"-NAK"] * 3
