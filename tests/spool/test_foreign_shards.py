"""
New mail that names a shard in which it is not, or a body that nobody could read, stops no other.

A process that accepts mail chooses the queue id, which names a shard, and the body of a record. If
it is compromised, these are any. Delivery must not wait for what can never be stored there.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from postroad.spool.event import Event, EventType
from postroad.spool.ids import new_queue_id
from postroad.spool.interface import Deferred, Put
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import intake_subject
from postroad.spool.lanes.layout import Layout
from postroad.spool.record import BlobRef, Hold, QueueRecord
from postroad.spool.selection import Selection, WaitKind
from postroad.spool.wire.record import encode
from postroad.testing.patience import patient
from postroad.testing.queue.accounts import API_PREFIX, as_role
from postroad.testing.queue.queued_mail import QUICK, first, kinds, now, put, record, take, until
from postroad.testing.queue.walls import SHARDS, Servers

pytestmark = pytest.mark.nats

TIMINGS = replace(QUICK, unstored=timedelta(seconds=0.5))
FAR = 200  # a shard that there is not
HOUR = timedelta(hours=1)


@pytest.fixture
async def delivery(servers: Servers) -> AsyncIterator[JetStreamSpool]:
    spool = await connect(as_role("delivery", servers.servers[0].url, timings=TIMINGS))
    yield spool
    await spool.close()


async def forge(servers: Servers, spool: JetStreamSpool, forged: QueueRecord) -> bytes:
    """Store new mail in shard 0, as somebody with the password of ingress; return its octets."""
    subject, octets = intake_subject(0, forged, spool.lane_of(forged)), encode(forged)
    await servers.clients["ingress"].request(subject, octets, timeout=patient(5))
    return octets


async def unreadable(spool: JetStreamSpool) -> list[bytes]:
    """Return the contents of the records that are held as unreadable."""
    held = Selection(kinds=frozenset({WaitKind.HELD}))
    found = [each.record async for each in spool.waiting.list(held)]
    assert {each.hold.reason for each in found if each.hold} == {"Unreadable"}
    return [b"".join([part async for part in spool.read_body(each)]) for each in found]


def of_shard(shard: int, **more: Any) -> QueueRecord:
    return record(new_queue_id(now(), shard), **more)


@pytest.mark.parametrize("shard", [FAR, 1])
async def test_mail_with_the_id_of_another_shard_is_held_and_other_mail_comes(
    servers: Servers, ingress: JetStreamSpool, delivery: JetStreamSpool, shard: int
) -> None:
    """Its deferral with a body apart was to go where the id says, and occupied its place."""
    forged = await forge(servers, delivery, of_shard(shard, content=b"x" * 20_000))
    consumer = take(delivery, room=1)
    await put(ingress, "other@y.example")
    [leased] = await first(consumer, 1)
    assert str(leased.record.recipients[0].mailbox) == "other@y.example"
    await consumer.settle(leased)
    await until(delivery, WaitKind.HELD)
    assert await unreadable(delivery) == [forged]
    await consumer.close()


@pytest.mark.parametrize("former", [False, True], ids=["of this release", "of an earlier release"])
@pytest.mark.parametrize("waits", [False, True], ids=["ready", "held"])
async def test_mail_with_a_body_in_a_stream_that_there_is_not_is_held_unread(
    servers: Servers, ingress: JetStreamSpool, delivery: JetStreamSpool, former: bool, waits: bool
) -> None:
    """A hold past its lifetime needs a copy of the body, which could never be made."""
    body = BlobRef(0 if former else FAR, "b" * 32, 1, 9, b"", 1, former=former)
    life: dict[str, Any] = {"arrival": now() - 90 * 24 * HOUR, "deadline": now() - 80 * 24 * HOUR}
    hold: dict[str, Any] = {"hold": Hold("Quota"), "waits_until": now() + HOUR} if waits else {}
    forged = await forge(servers, delivery, of_shard(0, content=body, **life, **hold))
    consumer = take(delivery, room=1)
    await put(ingress, "other@y.example")
    [leased] = await first(consumer, 1)
    assert str(leased.record.recipients[0].mailbox) == "other@y.example"
    await consumer.settle(leased)
    await until(delivery, WaitKind.HELD)
    assert await unreadable(delivery) == [forged]
    await consumer.close()


async def test_a_body_in_a_shard_that_came_later_is_found(
    servers: Servers, delivery: JetStreamSpool
) -> None:
    """A process that has run for longer than the shard is there takes the record, too."""
    grown = Layout(shards=SHARDS + 1, lanes=2, replicas=1)
    await provision(as_role("operator", servers.servers[0].url), layout=grown)
    body = BlobRef(SHARDS, "b" * 32, 1, 9, b"", 1)
    await forge(servers, delivery, of_shard(0, content=body))
    consumer = take(delivery)
    [leased] = await first(consumer, 1)
    assert leased.record.content == body
    await consumer.settle(leased)
    await consumer.close()


async def without_stream(servers: Servers) -> None:
    api = servers.clients["operator"].jetstream(prefix=API_PREFIX)
    for shard in range(SHARDS):
        await api.delete_stream(f"POSTROAD_Q_{shard}")


async def test_a_record_whose_deferral_cannot_be_stored_gives_its_place_to_others(
    servers: Servers, ingress: JetStreamSpool, delivery: JetStreamSpool
) -> None:
    await put(ingress, "first@y.example")
    consumer = take(delivery, room=1)
    [leased] = await first(consumer, 1)
    await without_stream(servers)
    deferral = Put(leased.record.next_step(), Deferred(now() + HOUR))
    assert not await consumer.settle(leased, [deferral])
    await put(ingress, "second@y.example")
    [other] = await first(consumer, 1)
    assert str(other.record.recipients[0].mailbox) == "second@y.example"
    await consumer.settle(other)
    await consumer.close()


async def test_a_record_that_a_recipient_got_stays_in_hand_until_that_is_stored(
    servers: Servers, ingress: JetStreamSpool, delivery: JetStreamSpool
) -> None:
    """It would be sent twice. Takes some seconds, until a stream was missed for long enough."""
    await put(ingress)
    consumer = take(delivery, room=1)
    [leased] = await first(consumer, 1)
    await without_stream(servers)
    deferral = Put(leased.record.next_step(), Deferred(now() + HOUR))
    got_it = Event(type=EventType.DELIVERY, at=now())
    settling = asyncio.create_task(consumer.settle(leased, [deferral], [got_it]))
    await asyncio.wait([settling], timeout=4 * TIMINGS.unstored.total_seconds())
    assert not settling.done()
    layout = Layout(shards=SHARDS, lanes=2, replicas=1)
    await provision(as_role("operator", servers.servers[0].url), layout=layout)
    async with asyncio.timeout(patient(20)):
        assert await settling
    assert await kinds(delivery) == [WaitKind.DEFERRED]
    await consumer.close()
