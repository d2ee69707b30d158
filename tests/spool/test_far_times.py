"""
A time far from now in a record holds up no other mail: the record is held, as none of ours has it.

The servers cannot count a life of centuries. What a process stores of such a record was refused
however often it tried, and the record kept its place in the process for good.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from postroad.spool.ids import new_queue_id
from postroad.spool.interface import Deferred, Put
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import intake_subject
from postroad.spool.selection import Selection
from postroad.spool.wire.record import encode
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import first, now, record, take
from postroad.testing.queue.walls import Servers

pytestmark = pytest.mark.nats

YEAR = timedelta(days=365)
LARGE = b"x" * 100_000  # stored beside the record when it waits


async def put_in(servers: Servers, spool: JetStreamSpool, **fields: Any) -> None:
    """Store new mail, as whoever has the login of ingress."""
    mail = record(new_queue_id(now(), 0), content=LARGE, **fields)
    subject = intake_subject(0, mail, spool.lane_of(mail))
    await servers.clients["ingress"].request(subject, encode(mail), timeout=patient(5))


@pytest.mark.parametrize("field", ["arrival", "deadline", "waits_until", "overtime"])
async def test_a_record_with_a_time_of_another_century_is_held(
    servers: Servers, delivery: JetStreamSpool, field: str
) -> None:
    await put_in(servers, delivery, **{field: now() + 400 * YEAR})
    consumer = take(delivery)
    taking = asyncio.create_task(first(consumer, 1))
    async with asyncio.timeout(patient(10)):
        while not (held := [each async for each in delivery.waiting.list(Selection())]):
            assert not taking.done(), "it was handed out"
            await asyncio.sleep(0.05)
    assert [each.record.hold.reason for each in held if each.record.hold] == ["Unreadable"]
    taking.cancel()
    await consumer.close()


async def test_a_record_that_lives_as_long_as_any_can_is_deferred(
    servers: Servers, delivery: JetStreamSpool
) -> None:
    await put_in(servers, delivery, deadline=datetime(2255, 1, 1, tzinfo=UTC))
    consumer = take(delivery)
    [leased] = await first(consumer, 1)
    again = Put(leased.record.next_step(attempts=1), Deferred(now() + timedelta(hours=1)))
    async with asyncio.timeout(patient(10)):
        await consumer.settle(leased, [again])
    [queued] = [each async for each in delivery.waiting.list(Selection())]
    assert queued.record.attempts == 1
    await consumer.close()
