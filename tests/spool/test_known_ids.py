"""
New mail with the id of another record does nothing to that one.

Whoever may store new mail chooses its id. Ids of other mail become known: one recipient reads in a
header field the id that the mail has for all of them.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from postroad.spool.interface import Deferred, Put
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import intake_subject
from postroad.spool.record import Hold, QueueRecord
from postroad.spool.selection import WaitKind
from postroad.spool.wire.record import encode
from postroad.testing.patience import patient
from postroad.testing.queue.accounts import as_role
from postroad.testing.queue.queued_mail import (
    QUICK,
    SECOND,
    crash_process,
    first,
    now,
    put,
    store,
    take,
    until,
)
from postroad.testing.queue.walls import Servers

pytestmark = pytest.mark.nats

VICTIM, FORGED = b"Subject: the victim's\r\n\r\n", b"Subject: forged\r\n\r\n"


async def forge(
    servers: Servers, spool: JetStreamSpool, known: QueueRecord, **more: object
) -> None:
    """Store new mail with a known id, as somebody with the password of ingress."""
    forged = replace(known, content=FORGED, **more)  # type: ignore[arg-type]
    subject = intake_subject(known.record_id.shard, forged, spool.lane_of(forged))
    await servers.clients["ingress"].request(subject, encode(forged), timeout=patient(5))


async def test_both_are_delivered_when_both_wait(
    servers: Servers, ingress: JetStreamSpool, delivery: JetStreamSpool
) -> None:
    """They had one subject: the later one took the place of the earlier one, which was lost."""
    await put(ingress, content=VICTIM)
    consumer = take(delivery)
    [leased] = await first(consumer, 1)
    due = now() + 3 * SECOND
    await consumer.settle(leased, [Put(leased.record.next_step(), Deferred(due))])
    await forge(servers, delivery, leased.record, waits_until=due)
    await until(delivery, WaitKind.DEFERRED, WaitKind.DEFERRED)
    # Neither is settled: what is in hand must not stand for the other either.
    assert {each.record.content for each in await first(consumer, 2)} == {VICTIM, FORGED}
    await consumer.close()


@pytest.mark.parametrize("hold", [None, Hold("Quota")], ids=["deferred", "held"])
async def test_mail_of_a_dead_process_comes_again(
    servers: Servers, ingress: JetStreamSpool, delivery: JetStreamSpool, hold: Hold | None
) -> None:
    """The other was taken for a later form of it. Takes 5 s, until the lease has run out."""
    await put(ingress, content=VICTIM)
    consumer = take(delivery)
    [leased] = await first(consumer, 1)
    later = now() + timedelta(hours=1)
    await forge(servers, delivery, leased.record, waits_until=later, hold=hold)
    waits = WaitKind.DEFERRED if hold is None else WaitKind.HELD
    await until(delivery, *sorted([WaitKind.READY, waits]))
    await crash_process(delivery, consumer)
    other = await connect(as_role("delivery", servers.servers[0].url, timings=QUICK))
    consumer = take(other)
    [again] = await first(consumer, 1)
    assert again.record == leased.record
    await consumer.settle(again)
    await consumer.close()
    await other.close()


async def test_what_an_earlier_build_made_of_new_mail_goes_on(
    servers: Servers, ingress: JetStreamSpool, delivery: JetStreamSpool
) -> None:
    """Its later form does not name the record in the intake. Takes 5 s, as above."""
    await put(ingress, content=VICTIM)
    consumer = take(delivery)
    [leased] = await first(consumer, 1)
    record = leased.record
    former = replace(record.next_step(), record_id=record.record_id.former)
    await store(delivery, [Put(former, Deferred(now() + timedelta(hours=1)))])
    await crash_process(delivery, consumer)
    other = await connect(as_role("delivery", servers.servers[0].url, timings=QUICK))
    consumer = take(other)
    taking = asyncio.create_task(first(consumer, 1))
    await until(other, WaitKind.DEFERRED)
    taking.cancel()
    await consumer.close()
    await other.close()
