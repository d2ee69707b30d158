"""Mail that a newer configuration accepted, or moved, than the one a delivery process has."""

import asyncio
from dataclasses import dataclass, replace

from postroad.delivery.dispatch.renewal import DOUBT, PATIENCE, EarlyRecords
from postroad.spool.event import EventType
from postroad.spool.lanes.owners import LaneKey
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.spool.record import QueueRecord
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import (
    counted,
    delivering,
    history,
    order,
    publish,
    send,
    to_smarthost,
)
from postroad.testing.queue.queued_mail import record

LANE = LaneKey("default", "p00")
SOON, LATE = 1.0, 1.0 + PATIENCE.total_seconds()
ASKED = 1.0 + DOUBT.total_seconds()


@dataclass(frozen=True)
class Leased:
    """A record as the consumer gives it."""

    record: QueueRecord
    deliveries: int = 1
    places: int = 1
    lane_key: LaneKey = LANE


def leased(generation: int) -> Leased:
    return Leased(record("0" * 26, generation=generation))


def test_a_record_waits_for_the_configuration_that_accepted_it() -> None:
    early, newer = EarlyRecords(9), leased(3)
    assert not early.concerns(leased(2), 2)
    assert early.concerns(newer, 2)
    assert early.keep(newer, 0.0)
    assert early.due(2, SOON) == []
    assert early.due(3, SOON) == [newer]
    assert early.due(3, SOON) == []


def test_what_is_published_is_waited_for_longer_than_what_is_not() -> None:
    """Generations begin anew where the queue's state was restored without its configuration."""
    early, newer, unreal = EarlyRecords(9), leased(3), leased(500)
    assert early.keep(newer, 0.0)
    assert early.keep(unreal, 0.0)
    assert not early.in_doubt(SOON)
    assert early.in_doubt(ASKED)
    early.hear(3, ASKED)
    assert not early.in_doubt(ASKED)
    assert early.due(2, ASKED) == [unreal]
    assert not early.concerns(unreal, 2), "it begins now"
    assert early.due(2, LATE) == [newer]
    assert not early.concerns(newer, 2)


def test_an_answer_from_before_it_came_says_nothing_about_a_record() -> None:
    early, newer = EarlyRecords(9), leased(3)
    early.hear(2, 0.0)
    assert early.keep(newer, 0.0)
    assert early.due(2, ASKED) == []
    assert early.in_doubt(ASKED)


def test_generations_that_do_not_come_end_no_wait_for_those_that_do() -> None:
    """The highest number that there is kept all later mail from waiting."""
    early, newer = EarlyRecords(9), leased(3)
    assert not early.concerns(leased(2**64 - 1), 2), "no edits leap so far"
    unreal = leased(900)
    assert early.concerns(unreal, 2)
    assert early.keep(unreal, 0.0)
    early.hear(2, ASKED)
    assert early.due(2, ASKED) == [unreal]
    assert early.concerns(newer, 2)


def test_early_records_leave_places_to_others() -> None:
    early = EarlyRecords(2)
    kept = [leased(generation) for generation in (3, 4)]
    assert all(early.keep(each, 0.0) for each in kept)
    assert not early.keep(leased(5), 0.0)
    assert early.due(3, SOON) == kept[:1]
    assert early.keep(leased(5), SOON)


async def test_mail_of_generations_that_never_come_delays_no_other() -> None:
    """Each took a place for ten seconds. Takes 5 s, until those that wait are known as unreal."""
    cluster = MemoryCluster()
    outside = MemorySpool(cluster, role="command")
    async with ScriptedMx() as mx:
        await publish(outside, anywhere=to_smarthost(mx))
        async with delivering(MemorySpool(cluster), room=30):
            for number in range(40):
                await send(outside, f"{number}@odd.example", generation=100 + number)
            await send(outside, "other@new.example", generation=1)
            async with asyncio.timeout(patient(DOUBT.total_seconds() - 1)):
                (first,) = await history(outside, EventType.DELIVERY)
            assert first.domain == "new.example"
            await history(outside, EventType.DELIVERY, 11)


async def test_mail_is_not_judged_by_an_older_configuration() -> None:
    """By that it has no route, and would be deferred."""
    cluster = MemoryCluster()
    outside = MemorySpool(cluster, role="command")
    async with ScriptedMx() as mx:
        await publish(outside, other_example=to_smarthost(mx))
        async with delivering(MemorySpool(cluster)):
            await send(outside, "1@other.example", generation=1)
            await history(outside, EventType.DELIVERY)
            await send(outside, "2@new.example", generation=2)
            await send(outside, "3@other.example", generation=1)
            await history(outside, EventType.DELIVERY, 2)  # it has taken the other one before
            await publish(outside, anywhere=to_smarthost(mx))
            told = await history(outside, EventType.DELIVERY, 3)
    assert [event.domain for event in told] == ["other.example", "other.example", "new.example"]
    kinds = {event.type for event in cluster.agreement.events}
    assert EventType.TRANSIENT_FAILURE not in kinds


async def test_mail_moves_to_its_pool_however_often_others_have_moved_it_before() -> None:
    """Before the edit by which it belongs there."""
    cluster = MemoryCluster()
    outside = MemorySpool(cluster, role="command")
    async with ScriptedMx() as mx:
        path = replace(to_smarthost(mx), pool="bulk")
        await publish(outside, anywhere=to_smarthost(mx))
        await publish(outside, anywhere=path)
        async with (
            delivering(MemorySpool(cluster)),
            delivering(MemorySpool(cluster, pool="bulk"), pool="bulk", process="bulk"),
        ):
            await send(outside, "1@new.example", generation=1, lane_moves=3, site=path.name)
            (told,) = await history(outside, EventType.DELIVERY)
    assert told.process == "bulk"


async def test_an_order_acts_on_mail_that_waits_for_its_configuration() -> None:
    cluster = MemoryCluster()
    outside = MemorySpool(cluster, role="command")
    async with ScriptedMx() as mx:
        await publish(outside, anywhere=to_smarthost(mx))
        async with delivering(MemorySpool(cluster)):
            await send(outside, "1@new.example", generation=2)
            await send(outside, "2@new.example", generation=1)
            await history(outside, EventType.DELIVERY)
            await outside.orders.place(order("delete", domain="new.example"))
            await counted(outside, "delete", 1)
    assert len(mx.messages) == 1
