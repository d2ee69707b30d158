"""Mail that a newer configuration accepted, or moved, than the one a delivery process has."""

from dataclasses import dataclass, replace

from postroad.delivery.dispatch.renewal import PATIENCE, EarlyRecords
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.spool.record import QueueRecord
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

SOON, LATE = 1.0, 1.0 + PATIENCE.total_seconds()


@dataclass(frozen=True)
class Leased:
    """A record as the consumer gives it."""

    record: QueueRecord
    deliveries: int = 1
    places: int = 1
    lane: str = "00"


def leased(generation: int) -> Leased:
    return Leased(record("0" * 26, generation=generation))


def test_a_record_waits_for_the_configuration_that_accepted_it() -> None:
    early, newer = EarlyRecords(), leased(3)
    assert not early.waits(leased(2), 2, 0.0)
    assert early.waits(newer, 2, 0.0)
    assert early.due(2, SOON) == []
    assert early.due(3, SOON) == [newer]
    assert early.due(3, SOON) == []


def test_a_configuration_that_does_not_come_is_waited_for_once() -> None:
    """Generations begin anew where the queue's state was restored without its configuration."""
    early, newer = EarlyRecords(), leased(500)
    assert early.waits(newer, 2, 0.0)
    assert early.due(2, LATE) == [newer]
    assert not early.waits(leased(499), 2, LATE)
    assert early.waits(leased(501), 2, LATE)


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
