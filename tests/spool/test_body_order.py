"""A body is read back whole from its chunks, in whatever order they were stored."""

import asyncio
import hashlib
import itertools
import json
from collections.abc import Mapping
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Protocol, cast

import pytest
from nats.js import JetStreamContext

from postroad.spool.errors import BodyMissing, SpoolUnavailable
from postroad.spool.jetstream.bodies.store import Blobs
from postroad.spool.jetstream.bodies.writer import BlobWriter, Writing
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.requests import NoResponders, Requests
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import chunk_subject
from postroad.spool.record import CHUNK, BlobRef
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import record

LIFETIME = timedelta(days=5)
CHUNKS = [b"%02d" % number * 5000 for number in range(5)]
WHOLE = b"".join(CHUNKS)
BODY = BlobRef(0, "a" * 32, len(CHUNKS), len(WHOLE), hashlib.sha256(WHOLE).digest(), 1)


class Link(Protocol):
    jetstream: JetStreamContext


async def store(link: Link, order: list[int]) -> None:
    for number in order:
        subject = chunk_subject(0, BODY.blob_id, number if number < 4 else None)
        await link.jetstream.publish(subject, CHUNKS[number])


async def read(spool: JetStreamSpool) -> bytes:
    return b"".join([chunk async for chunk in spool.read_body(record("0" * 26, content=BODY))])


@pytest.mark.nats
@pytest.mark.parametrize(
    "order", [[0, 2, 3, 1, 4], [0, 0, 1, 2, 1, 3, 4]], ids=["one late", "some twice"]
)
async def test_a_body_is_whole_in_whatever_order_its_chunks_are_stored(
    spool: JetStreamSpool, link: Link, order: list[int]
) -> None:
    await store(link, order)
    assert await read(spool) == WHOLE


@pytest.mark.nats
@pytest.mark.parametrize("missing", [1, 4])
async def test_a_body_that_lacks_a_chunk_is_missing(
    spool: JetStreamSpool, link: Link, missing: int
) -> None:
    await store(link, [number for number in range(5) if number != missing])
    with pytest.raises(BodyMissing, match="is not whole"):
        await read(spool)


@pytest.mark.nats
async def test_a_body_whose_last_chunk_another_has_taken_the_place_of_was_deleted(
    spool: JetStreamSpool, link: Link
) -> None:
    await store(link, [0, 1, 2, 3])
    await link.jetstream.publish(chunk_subject(0, BODY.blob_id, None), b"")
    with pytest.raises(BodyMissing, match="was deleted"):
        await read(spool)


class NotConnected:
    """Requests that end at once, as they do while a connection is made anew."""

    async def send(self, *_: object, **__: object) -> Any:
        raise NoResponders("not connected to NATS")


@pytest.mark.nats
async def test_a_body_is_read_though_the_connection_was_lost_just_then(
    spool: JetStreamSpool, link: Link
) -> None:
    """Else the message that is being sent breaks off."""
    await store(link, [0, 1, 2, 3, 4])
    blobs = Blobs(cast(NatsLink, link), cast(Requests, NotConnected()), retry=LIFETIME)
    assert b"".join([chunk async for chunk in blobs.read(BODY)]) == WHOLE
    assert await read(spool) == WHOLE


class LosesOneAnswer:
    """A queue whose answer to the second chunk is lost; the chunk is stored when it comes again."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.sent = 0
        self.lost = asyncio.Event()
        self._sequences = itertools.count(1)
        self._has_lost = False

    async def send(
        self, subject: str, data: bytes, *, headers: Mapping[str, str], timeout: float
    ) -> Any:
        self.sent += 1
        chunk = subject.rpartition(".")[2]
        if chunk == "1" and not self._has_lost:
            self._has_lost = True
            await self.lost.wait()
            raise SpoolUnavailable("no answer")
        self.stored.append(chunk)
        answer = {"stream": "s", "seq": next(self._sequences)}
        return SimpleNamespace(data=json.dumps(answer).encode(), status=None, header=b"")


async def test_the_last_chunk_is_stored_when_all_others_are() -> None:
    """It tells that the body is complete."""
    queue = LosesOneAnswer()
    writing = Writing(cast(Requests, queue), retry=LIFETIME)
    writer = BlobWriter(writing, 0, lifetime=LIFETIME, portion=None)
    await writer.write(b"x" * (6 * CHUNK))
    finishes = asyncio.create_task(writer.finish(destinations=1))
    async with asyncio.timeout(patient(5)):
        while len(queue.stored) < 4:
            await asyncio.sleep(0)
    for _ in range(100):  # whatever else could be sent would be
        await asyncio.sleep(0)
    assert sorted(queue.stored) == ["0", "2", "3", "4"]
    queue.lost.set()
    body = await finishes
    assert body.chunks == 6
    assert queue.stored[-2:] == ["1", "last"]


class Silent:
    """A queue that answers nothing."""

    def __init__(self) -> None:
        self.sent = 0

    async def send(
        self, subject: str, data: bytes, *, headers: Mapping[str, str], timeout: float
    ) -> Any:
        self.sent += 1
        await asyncio.Event().wait()


async def test_few_chunks_of_a_body_are_on_their_way_at_once() -> None:
    """They are in memory."""
    queue = Silent()
    writing = Writing(cast(Requests, queue), retry=LIFETIME)
    writer = BlobWriter(writing, 0, lifetime=LIFETIME, portion=None)
    writes = asyncio.create_task(writer.write(b"x" * (12 * CHUNK)))
    for _ in range(100):
        await asyncio.sleep(0)
    assert queue.sent == 4
    writes.cancel()
    await asyncio.gather(writes, return_exceptions=True)
