"""Mail that its Quota holds is in the history as held, whoever asks for that."""

import asyncio
from datetime import timedelta

import pytest

from postroad.spool.event import EventType
from postroad.spool.interface import Held, Put
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.record import QUOTA, Hold
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import SECOND, first, now, record, take

pytestmark = pytest.mark.nats


async def test_what_is_held_as_it_comes_is_told(spool: JetStreamSpool) -> None:
    """The log and the queue knew it; `postroad events --type held` showed nothing."""
    queue_id = spool.new_queue_id(now())
    puts = [Put(record(queue_id, hold=Hold(QUOTA)), Held(now() + timedelta(hours=1)))]
    await spool.accept(queue_id, lambda _: puts, timeout=patient(5) * SECOND)
    consumer = take(spool)
    taking = asyncio.ensure_future(first(consumer, 1))
    held = frozenset({EventType.HELD})
    async with asyncio.timeout(patient(20)):
        async for event in spool.events.read(types=held, follow=True):
            assert (event.queue_id, event.reason) == (queue_id, QUOTA)
            assert event.recipients == ("b@y.example",)
            break
    taking.cancel()
    await consumer.close()
