"""
Writes a body in chunks, and deletes the chunks of a body that is given up.

A body is written in chunks of 512 KiB, of which four may be unacknowledged. The number of bodies
written at once is not limited, because a few slow clients could use up the limit and hold up all
others. Memory is bounded instead: with more than eight bodies the chunks become smaller, and at
most 32 chunks are unacknowledged. Storage for unfinished messages is bounded, too
(`spool.jetstream.bodies.unfinished`).

All chunks but the last are marked as having a successor, and the last is written when all others
are stored. So the last message on a body's subject tells whether the body is complete, and the
remains of a killed process can be found (`spool.jetstream.bodies.abandoned`). The last chunk is
stored only directly after the chunk before it. So a body that was deleted as abandoned meanwhile
cannot be finished.
"""

import asyncio
import hashlib
import random
from datetime import timedelta
from uuid import uuid4

from postroad.process.background.backoff import Backoff
from postroad.spool.errors import ClaimLost, SpoolError, SpoolFull, SpoolUnavailable
from postroad.spool.jetstream.bodies.lifetime import time_to_live
from postroad.spool.jetstream.bodies.unfinished import UnfinishedBody
from postroad.spool.jetstream.nats.pub_ack import check_ack
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.nats.until_taken import UntilTaken
from postroad.spool.jetstream.streams.subjects import blob_subject
from postroad.spool.record import BlobRef
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

CHUNK = 512 * 1024  # octets
MORE = "Postroad-More"  # in the header of a chunk that is not the last
LEAST_CHUNK = 64 * 1024  # octets, however many bodies are written at once
WINDOW = 4  # chunks of a body from the first unacknowledged one on

_WAITING = 8 * CHUNK  # octets of all bodies in incomplete chunks
_ON_THEIR_WAY = 32  # unacknowledged chunks of all bodies
_TRIES = 5
_BACKOFF = Backoff(timedelta(seconds=0.4), timedelta(seconds=1))
_TRY_TIMEOUT = 5.0


class Writing:
    """What all bodies that a process writes share: memory, requests, deletions."""

    def __init__(self, requests: Requests, *, retry: timedelta) -> None:
        self.requests = requests
        self.bodies = 0
        self.ways = asyncio.Semaphore(_ON_THEIR_WAY)
        self.deletions = UntilTaken(self._delete, every=retry)  # of bodies given up

    @property
    def chunk(self) -> int:
        """The size of a body's next chunk, in octets."""
        return max(LEAST_CHUNK, min(CHUNK, _WAITING // max(1, self.bodies)))

    async def _delete(self, subject: str) -> None:
        await clear_subject(self.requests, subject)


class BlobWriter:
    """Implements interface.BodyWriter. With a `portion`, room is checked before each chunk."""

    def __init__(
        self, writing: Writing, shard: int, *, lifetime: timedelta, portion: UnfinishedBody | None
    ) -> None:
        self._writing = writing
        self._writing.bodies += 1
        self._is_counted = True
        self._portion = portion
        self._shard = shard
        self._ttl = f"{int(time_to_live(lifetime).total_seconds())}s"
        self._blob_id = uuid4().hex
        self._buffer = bytearray()
        self._digest = hashlib.sha256()
        self._size = 0
        self._chunks = 0
        self._stored = 0  # the highest sequence of a chunk
        self._under_way: dict[asyncio.Task[None], int] = {}  # and the chunk's number
        self._failure: SpoolError | None = None
        self._finished = False

    @property
    def held(self) -> int:
        """Octets in memory: their chunk is incomplete, or not acknowledged yet."""
        return len(self._buffer) + len(self._under_way) * self._writing.chunk

    async def write(self, data: bytes) -> None:
        """Take octets, waiting while the window is full."""
        self._digest.update(data)
        self._size += len(data)
        self._buffer += data
        while len(self._buffer) > (whole := self._writing.chunk):  # keep some for the last chunk
            chunk = bytes(memoryview(self._buffer)[:whole])
            del self._buffer[:whole]
            await self._send(chunk)

    async def _send(self, chunk: bytes, *, last: bool = False) -> None:
        # Wait for the oldest: if it must be sent again, it is stored after the chunks sent since.
        while self._under_way and self._chunks - min(self._under_way.values()) >= WINDOW:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        self._raise_failure()
        await self._writing.ways.acquire()
        try:
            if self._portion is not None:
                self._portion.take(len(chunk), last=last)
        except SpoolFull:
            self._writing.ways.release()
            raise
        task = asyncio.create_task(self._publish(chunk, self._chunks, last=last))
        self._under_way[task] = self._chunks
        self._chunks += 1
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task, None)
        self._writing.ways.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            # Unexpected: it is unknown whether the chunk is stored, so the body is not complete.
            log.error("a chunk of a body could not be stored", exc_info=error)
            self._failure = SpoolUnavailable(f"a chunk could not be stored: {error}")

    async def _publish(self, chunk: bytes, number: int, *, last: bool) -> None:
        headers = {
            "Nats-Msg-Id": f"{self._blob_id}.{number}",
            "Nats-TTL": self._ttl,
            "Postroad-Chunk": str(number),
        }
        if not last:
            headers[MORE] = "1"
        elif number:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(self._stored)
        subject = blob_subject(self._shard, self._blob_id)
        for attempt in range(_TRIES):
            try:
                answer = await self._writing.requests.send(
                    subject, chunk, headers=headers, timeout=_TRY_TIMEOUT
                )
                self._stored = max(self._stored, check_ack(answer))
            except SpoolFull as error:
                self._failure = error
            except ClaimLost:
                self._failure = SpoolUnavailable("the body was deleted as abandoned")
            except SpoolUnavailable as error:
                if attempt + 1 < _TRIES:
                    await asyncio.sleep(_BACKOFF.seconds(attempt + 1, random))
                    continue
                self._failure = error
            return

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def finish(self, *, destinations: int) -> BlobRef:
        """Wait until every chunk is durable and return the reference."""
        await self._until_stored()
        await self._send(bytes(self._buffer), last=True)
        self._buffer.clear()
        await self._until_stored()
        if self._portion is not None:
            # Now or never: once the body is finished, a record may refer to it.
            self._portion.check()
        self._finished = True
        self._leave()
        digest = self._digest.digest()
        return BlobRef(self._shard, self._blob_id, self._chunks, self._size, digest, destinations)

    async def _until_stored(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way)
        self._raise_failure()

    async def abort(self) -> None:
        """
        Give the body up and delete its chunks, unless it is finished.

        If that is not possible now, as when storage is full, they are deleted later. Otherwise
        anybody could fill the storage with messages that never end.
        """
        self._buffer.clear()
        self._leave()
        if self._finished:
            return  # a record may refer to it by now, even if the caller got no answer
        for task in list(self._under_way):
            task.cancel()
        if self._chunks:
            subject = blob_subject(self._shard, self._blob_id)
            await self._writing.deletions.try_now(subject, subject)

    def _leave(self) -> None:
        if self._is_counted:
            self._is_counted = False
            self._writing.bodies -= 1
            if self._portion is not None:
                self._portion.end()


async def clear_subject(requests: Requests, subject: str, *, after: int | None = None) -> None:
    """
    Delete all messages on a subject of a body stream; SpoolError when that is not certain.

    A rollup replaces all messages and expires itself after a second. So no role but the operator
    needs the right to purge or delete. `after` is the sequence that the last message must have;
    otherwise it raises ClaimLost.
    """
    headers = {"Nats-Rollup": "sub", "Nats-TTL": "1s"}
    if after is not None:
        headers["Nats-Expected-Last-Subject-Sequence"] = str(after)
    check_ack(await requests.send(subject, b"", headers=headers, timeout=2.0))
