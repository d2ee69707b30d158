"""Who takes from which lane: processes that join, start again, die, or stop."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from postroad.spool.interface import LeasedRecord, RecordConsumer
from postroad.spool.jetstream.consume.consumer import JetStreamConsumer
from postroad.spool.jetstream.consume.pull.puller import Puller
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.timings import Timings
from postroad.spool.lanes.owners import LaneKey
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import (
    QUICK,
    crash,
    crash_process,
    first,
    now,
    put,
    record,
    take,
)
from postroad_harness.setups.spool.taking import OpenJetStream, until_empty

pytestmark = pytest.mark.nats


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
    assert sum(each.lane_key.lane == crowded for each in leased) < 300
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


async def test_default_leaves_to_another_pool_only_the_lanes_of_that_pool(
    open_spool: OpenJetStream,
) -> None:
    """Each pool has lanes of the same names, and `default` goes on with its own."""
    one, other = await open_spool(), await open_spool(pool="bulk")
    await put(one)
    await put(one, pool="bulk")
    consumer, left = take(one), asyncio.Queue[LaneKey]()
    consumer.on_leaving(left.put_nowait)
    consumer.know_pools(["bulk"])
    mine = {leased.record.pool: leased for leased in await first(consumer, 2)}
    successor = other.take(pool="bulk", room=100, room_bytes=10_000_000)
    arriving = asyncio.ensure_future(first(successor, 1))
    while (await asyncio.wait_for(left.get(), patient(20))) != mine["bulk"].lane_key:
        pass
    await consumer.give_back(mine["bulk"])
    [again] = await asyncio.wait_for(arriving, patient(20))
    assert again.record == mine["bulk"].record
    assert again.lane_key == mine["bulk"].lane_key
    assert consumer.serves(mine["default"])
    assert mine["default"].lane_key == LaneKey("default", again.lane_key.lane)
    assert {left.get_nowait().pool for _ in range(left.qsize())} <= {"bulk"}
    for each in (consumer, successor):
        await each.stop()
        await each.close()


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
