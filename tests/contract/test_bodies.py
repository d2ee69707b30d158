"""Bodies too large for a record: written and read as streams, and checked when read."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest

from postroad.spool.errors import BodyCorrupt, BodyMissing
from postroad.spool.interface import HOLD_LIMIT, Deferred, Held, Put, QueueState, Spool
from postroad.spool.record import BlobRef, QueueRecord
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import SECOND, OpenSpool, first, now, put, record, take

LIFETIME = timedelta(days=5)
BLOCK = bytes(range(256)) * 400


async def write(spool: Spool, blocks: int, *, destinations: int = 1) -> BlobRef:
    writer = spool.write_body(lifetime=LIFETIME)
    for _ in range(blocks):
        await writer.write(BLOCK)
    return await writer.finish(destinations=destinations)


async def read(spool: Spool, body: BlobRef, trace: bytes = b"") -> bytes:
    stored = record(spool.new_queue_id(record("0" * 26).arrival), content=body, trace=trace)
    return b"".join([chunk async for chunk in spool.read_body(stored)])


async def drain(spool: Spool, stored: QueueRecord, chunks: list[bytes]) -> None:
    async for chunk in spool.read_body(stored):
        chunks += [chunk]


async def test_a_large_body_comes_out_as_it_went_in(spool: Spool) -> None:
    body = await write(spool, 30)
    assert (body.size, body.chunks) == (30 * len(BLOCK), -(-30 * len(BLOCK) // (512 * 1024)))
    assert body.sha256 == hashlib.sha256(BLOCK * 30).digest()
    assert await read(spool, body, trace=b"Received: x\r\n") == b"Received: x\r\n" + BLOCK * 30


async def test_an_inline_body_is_trace_and_content(spool: Spool) -> None:
    stored = record("0" * 26, trace=b"Received: x\r\n", content=b"Subject: hi\r\n\r\n")
    chunks = [chunk async for chunk in spool.read_body(stored)]
    assert b"".join(chunks) == b"Received: x\r\nSubject: hi\r\n\r\n"


async def test_a_missing_body_is_said_to_be_missing(spool: Spool) -> None:
    body = await write(spool, 1)
    with pytest.raises(BodyMissing):
        await read(spool, replace(body, blob_id="0" * len(body.blob_id)))


async def test_a_changed_body_is_not_handed_out_whole(spool: Spool) -> None:
    body = await write(spool, 12)
    stored = record("0" * 26, content=replace(body, sha256=b"\0" * 32))
    chunks: list[bytes] = []
    with pytest.raises(BodyCorrupt):
        await drain(spool, stored, chunks)
    assert sum(map(len, chunks)) < body.size


async def test_a_body_goes_with_its_only_record(spool: Spool) -> None:
    body = await write(spool, 6)
    await put(spool, content=body)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    await consumer.settle(leased)
    await consumer.close()
    with pytest.raises(BodyMissing):
        await read(spool, body)


async def test_only_a_body_that_is_not_finished_can_be_given_up(spool: Spool) -> None:
    writer = spool.write_body(lifetime=LIFETIME)
    await writer.write(BLOCK * 6)
    body = await writer.finish(destinations=1)
    await writer.abort()
    assert await read(spool, body) == BLOCK * 6


async def test_a_shared_body_goes_with_the_last_of_its_destinations(spool: Spool) -> None:
    body = await write(spool, 6, destinations=3)
    await put(spool, "b@x.example", "c@y.example", "d@z.example", content=body)
    consumer = take(spool)
    one, two, three = await first(consumer, 3)
    await consumer.settle(two)
    await consumer.settle(one)
    assert len(await read(spool, body)) == body.size
    await consumer.settle(three)
    await consumer.close()
    with pytest.raises(BodyMissing):
        await read(spool, body)


async def test_a_shared_body_goes_also_when_several_processes_end_its_destinations(
    open_spool: OpenSpool,
) -> None:
    spool = await open_spool()
    body = await write(spool, 6, destinations=3)
    await put(spool, "b@x.example", "c@y.example", "d@z.example", content=body)
    for left in (2, 1, 0):
        consumer = take(await open_spool(), room=1)
        [leased] = await first(consumer, 1)
        assert len(await read(spool, body)) == body.size, f"{left + 1} have not ended"
        await consumer.settle(leased)
        await consumer.close()
    with pytest.raises(BodyMissing):
        await read(spool, body)


@pytest.mark.parametrize(
    "place", [Deferred(now() + LIFETIME), Held(now() + HOLD_LIMIT)], ids=["deferred", "held"]
)
async def test_a_shared_body_stays_for_a_destination_that_waits(
    spool: Spool, place: QueueState
) -> None:
    body = await write(spool, 6, destinations=2)
    await put(spool, "b@y.example", "c@z.example", content=body)
    consumer = take(spool)
    ended, waits = await first(consumer, 2)
    await consumer.settle(waits, [Put(waits.record.next_step(), place)])
    await consumer.settle(ended)
    await consumer.close()
    assert len(await read(spool, body)) == body.size


async def test_a_deferred_message_has_its_body_when_it_is_tried_again(spool: Spool) -> None:
    """No other destination keeps it: only that the message goes on does."""
    body = await write(spool, 6)
    await put(spool, content=body)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    await consumer.settle(leased, [Put(leased.record.next_step(), Deferred(now() + SECOND))])
    async with asyncio.timeout(patient(20)):
        [again] = await first(consumer, 1)
    assert again.record.step == leased.record.step + 1
    assert b"".join([chunk async for chunk in spool.read_body(again.record)]) == BLOCK * 6
    await consumer.settle(again)
    await consumer.close()
