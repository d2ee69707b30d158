"""A body is read back whole in whatever order its chunks were stored."""

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
from postroad.spool.jetstream.bodies.writer import CHUNK, WINDOW, BlobWriter, Writing
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import blob_subject
from postroad.spool.record import BlobRef
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import record

LIFETIME = timedelta(days=5)
CHUNKS = [b"%02d" % number * 5000 for number in range(14)]
WHOLE = b"".join(CHUNKS)
BODY = BlobRef(0, "a" * 32, len(CHUNKS), len(WHOLE), hashlib.sha256(WHOLE).digest(), 1)


class Link(Protocol):
    jetstream: JetStreamContext


async def store(link: Link, order: list[int]) -> None:
    for number in order:
        headers = {"Postroad-Chunk": str(number)}
        await link.jetstream.publish(blob_subject(0, BODY.blob_id), CHUNKS[number], headers=headers)


async def read(spool: JetStreamSpool) -> bytes:
    return b"".join([chunk async for chunk in spool.read_body(record("0" * 26, content=BODY))])


@pytest.mark.nats
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
async def test_a_body_is_whole_in_whatever_order_its_chunks_are_stored(
    spool: JetStreamSpool, link: Link, order: list[int]
) -> None:
    await store(link, order)
    assert await read(spool) == WHOLE


@pytest.mark.nats
async def test_a_body_that_lacks_a_chunk_is_missing(spool: JetStreamSpool, link: Link) -> None:
    await store(link, [0, 1, *range(3, 14)])
    with pytest.raises(BodyMissing, match="is not whole"):
        await read(spool)


class LosesOneAnswer:
    """A queue whose answer to the second chunk is lost; the chunk is stored when it comes again."""

    def __init__(self) -> None:
        self.stored: list[int] = []
        self.lost = asyncio.Event()
        self._sequences = itertools.count(1)
        self._has_lost = False

    async def send(
        self, subject: str, data: bytes, *, headers: Mapping[str, str], timeout: float
    ) -> Any:
        number = int(headers["Postroad-Chunk"])
        if number == 1 and not self._has_lost:
            self._has_lost = True
            await self.lost.wait()
            raise SpoolUnavailable("no answer")
        self.stored.append(number)
        answer = {"stream": "s", "seq": next(self._sequences)}
        return SimpleNamespace(data=json.dumps(answer).encode(), status=None, header=b"")


async def test_no_chunk_is_stored_far_before_one_that_has_to_be_sent_again() -> None:
    queue = LosesOneAnswer()
    writing = Writing(cast(Requests, queue), retry=LIFETIME)
    writer = BlobWriter(writing, 0, lifetime=LIFETIME, portion=None)
    writes = asyncio.create_task(writer.write(b"x" * (12 * CHUNK)))
    async with asyncio.timeout(patient(5)):
        while len(queue.stored) < WINDOW:
            await asyncio.sleep(0)
    for _ in range(100):  # whatever else could be sent would be
        await asyncio.sleep(0)
    assert sorted(queue.stored) == [0, 2, 3, 4]
    queue.lost.set()
    await writes
    body = await writer.finish(destinations=1)
    assert body.chunks == 12
    late = [number - place for place, number in enumerate(queue.stored)]
    assert max(map(abs, late)) < WINDOW
