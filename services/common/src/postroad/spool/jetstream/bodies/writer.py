"""
Writes a body in chunks, and deletes the chunks of a body that is given up.

A body is written in chunks of 512 KiB, of which four may be unacknowledged. The number of bodies
written at once is not limited, because a few slow clients could use up the limit and hold up all
others. Memory is bounded instead: with more than eight bodies the chunks become smaller, and at
most 32 chunks are unacknowledged. Storage for unfinished messages is bounded, too
(`spool.jetstream.bodies.unfinished`).

Each chunk has a subject of its own, with its number. The last one has `last` there, and is written
when all others are stored. So the subjects tell which bodies are complete, and the remains of a
killed process can be found (`spool.jetstream.bodies.abandoned`). The last chunk is stored only if
nothing was on its subject before. So a body that was deleted as abandoned meanwhile cannot be
finished.
"""

import asyncio
import hashlib
import random
from datetime import timedelta
from uuid import uuid4

from postroad.process.background.backoff import Backoff
from postroad.spool.errors import ClaimLost, SpoolError, SpoolFull, SpoolUnavailable
from postroad.spool.jetstream.bodies.deletion import Chunks, delete_chunks
from postroad.spool.jetstream.bodies.lifetime import time_to_live
from postroad.spool.jetstream.bodies.unfinished import UnfinishedBody
from postroad.spool.jetstream.bodies.until_taken import UntilTaken
from postroad.spool.jetstream.nats.pub_ack import check_ack
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.streams.subjects import body_subject, chunk_subject
from postroad.spool.record import CHUNK, BlobRef
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

LEAST_CHUNK = 64 * 1024  # octets, however many bodies are written at once

_WINDOW = 4  # unacknowledged chunks of a body
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
        self.deletions: UntilTaken[Chunks] = UntilTaken(self._delete, every=retry)  # given up

    @property
    def chunk(self) -> int:
        """The size of a body's next chunk, in octets."""
        return max(LEAST_CHUNK, min(CHUNK, _WAITING // max(1, self.bodies)))

    async def _delete(self, chunks: Chunks) -> None:
        await delete_chunks(self.requests, chunks)


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
        self._last_sent = False
        self._under_way: set[asyncio.Task[None]] = set()
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
        while len(self._under_way) >= _WINDOW:
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
        self._under_way.add(task)
        self._chunks += 1
        self._last_sent = last
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._writing.ways.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            # Unexpected: it is unknown whether the chunk is stored, so the body is not complete.
            log.error("a chunk of a body could not be stored", exc_info=error)
            self._failure = SpoolUnavailable(f"a chunk could not be stored: {error}")

    async def _publish(self, chunk: bytes, number: int, *, last: bool) -> None:
        headers = {
            "Nats-Msg-Id": f"{self._blob_id}.{number}",
            "Nats-TTL": self._ttl,
        }
        if last and number:  # nobody takes a body for abandoned of which nothing is there
            headers["Nats-Expected-Last-Subject-Sequence"] = "0"
        subject = chunk_subject(self._shard, self._blob_id, None if last else number)
        for attempt in range(_TRIES):
            try:
                check_ack(
                    await self._writing.requests.send(
                        subject, chunk, headers=headers, timeout=_TRY_TIMEOUT
                    )
                )
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
            numbered = self._chunks - self._last_sent
            stored = Chunks(self._shard, self._blob_id, numbered, last=self._last_sent)
            subject = body_subject(self._shard, self._blob_id)
            await self._writing.deletions.try_now(subject, stored)

    def _leave(self) -> None:
        if self._is_counted:
            self._is_counted = False
            self._writing.bodies -= 1
            if self._portion is not None:
                self._portion.end()
