"""What an earlier release has stored of bodies is read, and deleted with its last record."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol

import pytest
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from postroad.spool.errors import BodyMissing
from postroad.spool.interface import HOLD_LIMIT, Put, Ready, held
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import body_stream, body_subject
from postroad.spool.record import ADMIN, BlobRef, Hold
from postroad.spool.selection import Selection
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import SECOND, first, is_there, now, put, record, take

pytestmark = pytest.mark.nats

OpenSpool = Callable[..., Awaitable[JetStreamSpool]]
CHUNKS = [b"%02d" % number * 5000 for number in range(14)]
WHOLE = b"".join(CHUNKS)
IN_TURN = list(range(14))


def former(destinations: int = 1) -> BlobRef:
    digest = hashlib.sha256(WHOLE).digest()
    return BlobRef(0, "a" * 32, len(CHUNKS), len(WHOLE), digest, destinations, former=True)


BODY = former()
SUBJECT = body_subject(0, BODY.blob_id, former=True)
STREAM = body_stream(0, former=True)


class Link(Protocol):
    jetstream: JetStreamContext


async def store(link: Link, order: list[int]) -> None:
    """Make the stream as the earlier release did, and store chunks there."""
    made = StreamConfig(
        name=STREAM,
        subjects=["pr.b.0.>"],
        allow_direct=True,
        allow_msg_ttl=True,
        allow_rollup_hdrs=True,
    )
    await link.jetstream.add_stream(made)
    for number in order:
        headers = {"Postroad-Chunk": str(number)}
        await link.jetstream.publish(SUBJECT, CHUNKS[number], headers=headers)


async def read(spool: JetStreamSpool) -> bytes:
    return b"".join([chunk async for chunk in spool.read_body(record("0" * 26, content=BODY))])


async def until_empty(link: Link) -> None:
    async with asyncio.timeout(patient(10)):
        while (await link.jetstream.stream_info(STREAM)).state.messages:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "order",
    [
        [0, 1, *range(3, 13), 2, 13],
        [*range(1, 14), 0],
        [*reversed(range(14))],
        [*range(0, 14, 2), *range(1, 14, 2)],
        [0, 0, 1, 1, *range(14)],
    ],
    ids=["one late", "the first last", "backwards", "odd ones later", "some twice"],
)
async def test_it_is_whole_in_whatever_order_its_chunks_are_stored(
    spool: JetStreamSpool, link: Link, order: list[int]
) -> None:
    await store(link, order)
    assert await read(spool) == WHOLE


async def test_without_a_chunk_it_is_missing(spool: JetStreamSpool, link: Link) -> None:
    await store(link, [0, 1, *range(3, 14)])
    with pytest.raises(BodyMissing, match="is not whole"):
        await read(spool)


async def test_it_goes_with_its_record(spool: JetStreamSpool, link: Link) -> None:
    await store(link, IN_TURN)
    await put(spool, content=BODY)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    assert leased.record.content == BODY
    await consumer.settle(leased)
    await consumer.close()
    assert not await is_there(spool, BODY)
    await until_empty(link)


async def test_it_goes_with_the_last_of_its_destinations_whoever_ends_them(
    open_spool: OpenSpool, link: Link
) -> None:
    await store(link, IN_TURN)
    spool, body = await open_spool(), former(destinations=3)

    def compose(queue_id: str) -> list[Put]:
        return [
            Put(record(queue_id, f"b@y{n}.example", n, pool=pool, content=body), Ready())
            for n, pool in enumerate("abc")
        ]

    await spool.accept(spool.new_queue_id(now()), compose, timeout=patient(5) * SECOND)
    for pool in "abc":
        assert await is_there(spool, body)
        other = await open_spool(pool=pool)
        consumer = other.take(pool=pool, room=10, room_bytes=10_000_000)
        [leased] = await first(consumer, 1)
        await consumer.settle(leased)
        await consumer.close()
    await until_empty(link)


async def test_a_copy_of_it_is_none_of_an_earlier_release(
    spool: JetStreamSpool, link: Link
) -> None:
    await store(link, IN_TURN)
    await put(spool, content=BODY, deadline=now() - HOLD_LIMIT - timedelta(days=1))
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    await consumer.settle(leased, [held(leased.record, Hold(ADMIN), now=now())])
    await consumer.close()
    [queued] = [queued async for queued in spool.waiting.list(Selection())]
    body = queued.record.content
    assert isinstance(body, BlobRef)
    assert not body.former
    assert b"".join([chunk async for chunk in spool.read_body(queued.record)]) == WHOLE
