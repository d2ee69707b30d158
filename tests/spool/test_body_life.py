"""A body in the blob store never expires before a record that refers to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest
from nats.js import JetStreamContext

from postroad.spool.ids import new_queue_id
from postroad.spool.interface import HOLD_LIMIT, Deferred, Held, Put, QueueState, Ready, held
from postroad.spool.jetstream.bodies.lifetime import outlives_body, time_to_live
from postroad.spool.jetstream.bodies.store import Blobs
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import body_stream, chunk_subject
from postroad.spool.record import ADMIN, BlobRef, Hold, QueueRecord
from postroad.spool.selection import Selection
from postroad.testing.queue.queued_mail import SECOND, first, now, put, record, take

OpenSpool = Callable[..., Awaitable[JetStreamSpool]]
DAY = timedelta(days=1)
LIFETIME = 5 * DAY
DOWN = 13 * DAY  # how long servers may be down, in which records wait and bodies do not
CONTENT = b"Subject: large\r\n\r\n" + b"x" * 200_000
BODY = BlobRef(0, "b", 1, 200_000, b"\0" * 32, 1)


class Link(Protocol):
    jetstream: JetStreamContext


def hold(stored: QueueRecord, moment: datetime) -> Put:
    return held(stored, Hold(ADMIN), now=moment)


@pytest.mark.parametrize("lifetime", [SECOND, LIFETIME, 30 * DAY])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["at once", "later", "at the deadline"])
def test_a_body_lives_through_a_hold_that_begins_before_the_deadline(
    lifetime: timedelta, share: float
) -> None:
    began = now()
    stored = record(new_queue_id(began, 0), deadline=began + lifetime, content=BODY)
    put = hold(stored, began + share * lifetime)
    assert isinstance(put.place, Held)
    assert put.place.until + DOWN < began + time_to_live(lifetime)
    assert not outlives_body(put.record, put.place)


@pytest.mark.parametrize("place", [Ready(), Deferred(now() + LIFETIME)])
def test_what_is_not_held_does_not_outlive_its_body(place: QueueState) -> None:
    assert not outlives_body(record("0" * 26, content=BODY), place)


def test_a_hold_that_begins_after_the_deadline_outlives_the_body() -> None:
    late = record("0" * 26, content=BODY, deadline=now() - DAY)
    assert outlives_body(late, hold(late, now()).place)
    inline = record("0" * 26, deadline=now() - DAY)
    assert not outlives_body(inline, hold(inline, now()).place)


async def large(spool: JetStreamSpool) -> BlobRef:
    writer = spool.write_body(lifetime=LIFETIME)
    await writer.write(CONTENT)
    return await writer.finish(destinations=1)


async def end_of(body: object, link: Link) -> datetime:
    """Return when nats-server deletes a body's first chunk."""
    assert isinstance(body, BlobRef)
    subject = chunk_subject(body.shard, body.blob_id, None if body.chunks == 1 else 0)
    chunk = await link.jetstream.get_last_msg(body_stream(body.shard), subject)
    assert chunk.headers is not None
    seconds = int(chunk.headers["Nats-TTL"].removesuffix("s"))
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.mark.nats
async def test_the_body_of_mail_that_is_accepted_and_held_lives_through_the_hold(
    spool: JetStreamSpool, link: Link
) -> None:
    until = now() + HOLD_LIMIT
    await put(spool, place=Held(until), hold=Hold("Quota"), content=await large(spool))
    [queued] = [queued async for queued in spool.waiting.list(Selection())]
    assert await end_of(queued.record.content, link) > until + DOWN


@pytest.mark.nats
async def test_the_body_lives_through_a_hold_that_is_ordered_later(
    spool: JetStreamSpool, link: Link
) -> None:
    await put(spool, place=Deferred(now() + LIFETIME), content=await large(spool))
    [queued] = [queued async for queued in spool.waiting.list(Selection())]
    ordered = hold(queued.record, queued.record.deadline)
    assert isinstance(ordered.place, Held)
    await spool.waiting.claim(queued, [ordered], now())
    [queued] = [queued async for queued in spool.waiting.list(Selection())]
    assert queued.due == ordered.place.until
    assert await end_of(queued.record.content, link) > ordered.place.until + DOWN


@pytest.mark.nats
async def test_mail_that_is_held_again_after_its_deadline_gets_a_body_that_lives_as_long(
    open_spool: OpenSpool, link: Link
) -> None:
    spool = await open_spool()
    former = await large(spool)
    await put(spool, content=former, deadline=now() - HOLD_LIMIT)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    again = hold(leased.record, now())
    await consumer.settle(leased, [again])
    await consumer.close()
    [queued] = [queued async for queued in spool.waiting.list(Selection())]
    body = queued.record.content
    assert isinstance(again.place, Held)
    assert isinstance(body, BlobRef)
    assert body.blob_id != former.blob_id
    assert await end_of(body, link) > again.place.until + DOWN
    assert b"".join([chunk async for chunk in spool.read_body(queued.record)]) == CONTENT


@pytest.mark.nats
async def test_a_few_bodies_are_copied_at_a_time(
    open_spool: OpenSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of small records may name one large body: all at once they took gigabytes."""
    copied, under_way, most = Blobs.read, 0, 0

    async def counted(self: Blobs, body: BlobRef) -> AsyncIterator[bytes]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        async for chunk in copied(self, body):
            yield chunk
        under_way -= 1

    monkeypatch.setattr(Blobs, "read", counted)
    spool = await open_spool()
    body = await large(spool)
    for _ in range(20):
        await put(spool, content=body, deadline=now() - HOLD_LIMIT)
    consumer = take(spool)
    leased = await first(consumer, 20)
    await asyncio.gather(*(consumer.settle(each, [hold(each.record, now())]) for each in leased))
    await consumer.close()
    assert len([queued async for queued in spool.waiting.list(Selection())]) == 20
    assert 1 <= most <= 4


@pytest.mark.nats
async def test_mail_whose_body_is_gone_is_held_all_the_same(spool: JetStreamSpool) -> None:
    missing = BlobRef(0, "0" * 32, 1, 200_000, b"\0" * 32, 1)
    await put(spool, content=missing, deadline=now() - DAY)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    await consumer.settle(leased, [hold(leased.record, now())])
    await consumer.close()
    [queued] = [queued async for queued in spool.waiting.list(Selection())]
    assert queued.record.content == missing
