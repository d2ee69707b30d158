"""
Bodies kept beside the records: chunks on a stream of their own, written and read with a bound.

A body is written in chunks of 512 KiB, four on their way at a time, and is read by pages of direct
gets. Direct gets may be answered by a follower that lags; a chunk is missing only when the stream's
leader says so. Whatever nobody refers to dies by its time to live.

A process takes any number of bodies at once: a limit would be used up by a few clients that send
slowly, and hold up all others. What grows with their number is kept small instead: past eight
bodies chunks become smaller, and no more than 32 are on their way.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from postroad.mail.header import header_block
from postroad.spool.acks import check_ack
from postroad.spool.body_life import time_to_live
from postroad.spool.connection import NatsLink
from postroad.spool.direct_get import page
from postroad.spool.errors import BodyCorrupt, BodyMissing, SpoolError, SpoolFull, SpoolUnavailable
from postroad.spool.log import get_logger
from postroad.spool.record import BlobRef, QueueRecord
from postroad.spool.requests import Requests
from postroad.spool.subjects import blob_stream, blob_subject

log = get_logger("spool.blobs")

CHUNK = 512 * 1024  # octets
LEAST_CHUNK = 64 * 1024  # octets, however many bodies are written at once
WINDOW = 4  # chunks of a body on their way
LARGE_WHEN_WAITING = 16 * 1024  # octets: schedules are copied whole when they fire

_WAITING = 8 * CHUNK  # octets of all bodies that wait for their chunk to be whole
_ON_THEIR_WAY = 32  # chunks of all bodies
_TRIES = 5
_TRY_TIMEOUT = 5.0
_PAGE = 2  # chunks read ahead


class Room:
    """What all bodies that a process writes have in memory."""

    def __init__(self) -> None:
        self.bodies = 0
        self.ways = asyncio.Semaphore(_ON_THEIR_WAY)

    @property
    def chunk(self) -> int:
        """Octets at which a body's next chunk is whole."""
        return max(LEAST_CHUNK, min(CHUNK, _WAITING // max(1, self.bodies)))


class BlobWriter:
    """Implements interface.BodyWriter."""

    def __init__(self, requests: Requests, room: Room, shard: int, *, lifetime: timedelta) -> None:
        self._requests = requests
        self._room = room
        self._room.bodies += 1
        self._in_room = True
        self._shard = shard
        self._ttl = f"{int(time_to_live(lifetime).total_seconds())}s"
        self._blob_id = uuid4().hex
        self._buffer = bytearray()
        self._digest = hashlib.sha256()
        self._size = 0
        self._chunks = 0
        self._under_way: set[asyncio.Task[None]] = set()
        self._failure: SpoolError | None = None
        self._finished = False

    @property
    def held(self) -> int:
        """Octets whose chunk is not whole, or on its way."""
        return len(self._buffer) + len(self._under_way) * self._room.chunk

    async def write(self, data: bytes) -> None:
        """Take octets, waiting while the window is full."""
        self._digest.update(data)
        self._size += len(data)
        self._buffer += data
        while len(self._buffer) >= (whole := self._room.chunk):
            chunk = bytes(memoryview(self._buffer)[:whole])
            del self._buffer[:whole]
            await self._send(chunk)

    async def _send(self, chunk: bytes) -> None:
        while len(self._under_way) >= WINDOW:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        self._raise_failure()
        await self._room.ways.acquire()
        task = asyncio.create_task(self._publish(chunk, self._chunks))
        self._chunks += 1
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._room.ways.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            # Nobody planned it: whether the chunk is stored is not known, so the body is not whole.
            log.error("a chunk of a body could not be stored", exc_info=error)
            self._failure = SpoolUnavailable(f"a chunk could not be stored: {error}")

    async def _publish(self, chunk: bytes, number: int) -> None:
        headers = {
            "Nats-Msg-Id": f"{self._blob_id}.{number}",
            "Nats-TTL": self._ttl,
            "Postroad-Chunk": str(number),
        }
        subject = blob_subject(self._shard, self._blob_id)
        for attempt in range(_TRIES):
            try:
                answer = await self._requests.send(
                    subject, chunk, headers=headers, timeout=_TRY_TIMEOUT
                )
                check_ack(answer)
            except SpoolFull as error:
                self._failure = error
            except SpoolUnavailable as error:
                if attempt + 1 < _TRIES:
                    await asyncio.sleep(0.2 * (attempt + 1))
                    continue
                self._failure = error
            return

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def finish(self, *, destinations: int) -> BlobRef:
        """Wait until every chunk is durable and return the reference."""
        if self._buffer or not self._chunks:
            await self._send(bytes(self._buffer))
            self._buffer.clear()
        # Chunks have to stand in order: the reader takes them as the stream has them.
        if self._under_way:
            await asyncio.wait(self._under_way)
        self._raise_failure()
        self._finished = True
        self._leave()
        digest = self._digest.digest()
        return BlobRef(self._shard, self._blob_id, self._chunks, self._size, digest, destinations)

    async def abort(self) -> None:
        """
        Give the body up and delete what is stored of it; nothing once it is finished.

        Else anyone could fill the store with messages that never end, for as long as mail lives.
        """
        self._buffer.clear()
        self._leave()
        if self._finished:
            return  # a record may name it by now, whatever became of the answer
        for task in list(self._under_way):
            task.cancel()
        if self._chunks:
            with suppress(SpoolError):  # it dies by its time to live
                await clear_subject(self._requests, blob_subject(self._shard, self._blob_id))

    def _leave(self) -> None:
        if self._in_room:
            self._in_room = False
            self._room.bodies -= 1


class Blobs:
    """The bodies of all shards."""

    def __init__(self, link: NatsLink, requests: Requests) -> None:
        self._link = link
        self._requests = requests
        self._room = Room()

    def writer(self, shard: int, *, lifetime: timedelta) -> BlobWriter:
        """Begin a body."""
        return BlobWriter(self._requests, self._room, shard, lifetime=lifetime)

    async def read(self, blob: BlobRef) -> AsyncIterator[bytes]:
        """Yield a body's chunks; the last one only when count, size and checksum are right."""
        digest, size = hashlib.sha256(), 0
        held: bytes | None = None
        async for chunk in self._chunks(blob):
            digest.update(chunk)
            size += len(chunk)
            if held is not None:
                yield held
            held = chunk
        if size != blob.size or digest.digest() != blob.sha256:
            raise BodyCorrupt(f"body {blob.blob_id} is not what its record says")
        if held is not None:
            yield held

    async def _chunks(self, blob: BlobRef) -> AsyncIterator[bytes]:
        subject, stream = blob_subject(blob.shard, blob.blob_id), blob_stream(blob.shard)
        number, after = 0, 0
        early: dict[int, bytes] = {}
        while number < blob.chunks:
            found = await page(self._link, stream, subject, after=after, messages=_PAGE)
            messages = list(found.messages)
            if not messages:
                # A follower may lag; what the leader does not have is not there.
                chunk, after = await self._ask_leader(blob, stream, subject, after)
                early[self._number(chunk[1])] = chunk[0]
            for message in messages:
                if "Nats-Rollup" in message.headers:
                    raise BodyMissing(f"body {blob.blob_id} was deleted")
                early[self._number(message.headers)] = message.data
                after = message.sequence
            while number in early:
                yield early.pop(number)
                number += 1
            if len(early) > WINDOW:
                raise BodyCorrupt(f"body {blob.blob_id} lacks chunk {number}")

    @staticmethod
    def _number(headers: object) -> int:
        try:
            return int(headers["Postroad-Chunk"])  # type: ignore[index]
        except (KeyError, ValueError, TypeError) as error:
            raise BodyCorrupt("a chunk without its number") from error

    async def _ask_leader(
        self, blob: BlobRef, stream: str, subject: str, after: int
    ) -> tuple[tuple[bytes, dict[str, str]], int]:
        request = json.dumps({"seq": after + 1, "next_by_subj": subject}).encode()
        answer = await self._requests.send(f"$JS.API.STREAM.MSG.GET.{stream}", request)
        said = json.loads(answer.data)
        if "error" in said:
            if said["error"].get("code") == 404:
                raise BodyMissing(f"body {blob.blob_id} is not there")
            raise SpoolUnavailable(f"{stream} answers {said['error'].get('description')}")
        message = said["message"]
        headers = _headers(base64.b64decode(message.get("hdrs", "")))
        return (base64.b64decode(message.get("data", "")), headers), int(message["seq"])

    async def delete(self, blob: BlobRef) -> None:
        """Delete a body's chunks; SpoolError when it is not certain that they are."""
        await clear_subject(self._requests, blob_subject(blob.shard, blob.blob_id))

    async def moved_out(self, record: QueueRecord, *, lifetime: timedelta) -> QueueRecord:
        """Return the record with a large inline body moved to the blob store, as waiting asks."""
        content = record.content
        if isinstance(content, BlobRef) or len(content) <= LARGE_WHEN_WAITING:
            return record
        writer = self.writer(record.record_id.shard, lifetime=lifetime)
        try:
            await writer.write(content)
            blob = await writer.finish(destinations=1)
        except BaseException:
            await writer.abort()
            raise
        return replace(record, content=blob, header=header_block(content))

    async def renewed(self, record: QueueRecord, *, lifetime: timedelta) -> QueueRecord:
        """Return the record with a copy of its body; as it is when there is none to be copied."""
        content = record.content
        assert isinstance(content, BlobRef)
        writer = self.writer(record.record_id.shard, lifetime=lifetime)
        try:
            async for chunk in self.read(content):
                await writer.write(chunk)
            blob = await writer.finish(destinations=1)
        except (BodyMissing, BodyCorrupt):
            await writer.abort()
            return record  # its attempt will tell
        except BaseException:
            await writer.abort()
            raise
        return replace(record, content=blob)


async def clear_subject(requests: Requests, subject: str) -> None:
    """
    Delete what there is on a subject of a stream of bodies; SpoolError when that is not certain.

    A rollup takes the place of all there was, and is gone itself in a second: no role but the
    operator needs the right to purge or delete.
    """
    headers = {"Nats-Rollup": "sub", "Nats-TTL": "1s"}
    check_ack(await requests.send(subject, b"", headers=headers, timeout=2.0))


def _headers(block: bytes) -> dict[str, str]:
    fields = {}
    for line in block.decode("utf-8", "replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields[name.strip()] = value.strip()
    return fields
