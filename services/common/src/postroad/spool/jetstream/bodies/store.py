"""
The blob store: large bodies as chunks on streams of their own, in bounded memory.

A body is written in chunks (`spool.jetstream.bodies.writer`), each on a subject of its own, and
read by a direct get for each. A lagging follower may answer, so a chunk counts as missing only if
the stream's leader does not have it. A body without records expires by its time to live.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

from postroad.mail.header import header_block
from postroad.spool.errors import BodyCorrupt, BodyMissing, SpoolUnavailable
from postroad.spool.jetstream.bodies.deletion import delete_body
from postroad.spool.jetstream.bodies.former import FormerBodies
from postroad.spool.jetstream.bodies.unfinished import UnfinishedBody
from postroad.spool.jetstream.bodies.writer import BlobWriter, Writing
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.direct_get import (
    READ_TIMEOUT,
    StoredMessage,
    last_on,
    message_in,
)
from postroad.spool.jetstream.nats.leader_get import ask_leader
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.streams.subjects import body_stream, chunk_subject
from postroad.spool.record import BlobRef, QueueRecord

LARGE_WHEN_WAITING = 16 * 1024  # octets: the server copies a scheduled message when it is due

_COPIES = 4  # at a time; each has two chunks in memory

_TIMEOUT = READ_TIMEOUT.total_seconds()


class Blobs:
    """The bodies of all shards."""

    def __init__(self, link: NatsLink, requests: Requests, *, retry: timedelta) -> None:
        self._link = link
        self._requests = requests
        self._writing = Writing(requests, retry=retry)
        self._former = FormerBodies(link, requests)
        self._copies = asyncio.Semaphore(_COPIES)

    def writer(
        self, shard: int, *, lifetime: timedelta, portion: UnfinishedBody | None = None
    ) -> BlobWriter:
        """Begin a body; that of new mail has a `portion` of the room for unfinished content."""
        return BlobWriter(self._writing, shard, lifetime=lifetime, portion=portion)

    async def read(self, blob: BlobRef) -> AsyncIterator[bytes]:
        """Yield a body's chunks; the last one only after count, size and checksum are checked."""
        digest, size = hashlib.sha256(), 0
        held: bytes | None = None
        chunks = self._former.chunks(blob) if blob.former else self._chunks(blob)
        async for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            if held is not None:
                yield held
            held = chunk
        if size != blob.size or digest.digest() != blob.sha256:
            raise BodyCorrupt(f"body {blob.blob_id} does not match its record")
        if held is not None:
            yield held

    async def _chunks(self, blob: BlobRef) -> AsyncIterator[bytes]:
        """Yield the chunks in order. While the caller works with one, the next one is read."""
        ahead = self._begin(blob, 0)
        try:
            for following in range(1, blob.chunks + 1):
                chunk = await ahead
                if following < blob.chunks:
                    ahead = self._begin(blob, following)
                yield chunk
        finally:
            ahead.cancel()

    def _begin(self, blob: BlobRef, number: int) -> asyncio.Task[bytes]:
        task = asyncio.create_task(self._chunk(blob, number))
        task.add_done_callback(_seen)
        return task

    async def _chunk(self, blob: BlobRef, number: int) -> bytes:
        """Return a chunk; BodyMissing if it is not there."""
        is_last = number + 1 == blob.chunks
        subject = chunk_subject(blob.shard, blob.blob_id, None if is_last else number)
        stream = body_stream(blob.shard)
        found = await self._latest(stream, subject)
        if found is None:  # a follower may lag, but the leader knows
            found = await ask_leader(self._requests, stream, {"last_by_subj": subject})
        if found is None:
            raise BodyMissing(f"body {blob.blob_id} {'is not whole' if number else 'is not there'}")
        if not found.data and blob.size:
            raise BodyMissing(f"body {blob.blob_id} was deleted")
        return found.data

    async def _latest(self, stream: str, subject: str) -> StoredMessage | None:
        """Return the message on a subject, as some server has it; None if that has none."""
        # On the subscription that all requests share: one of its own would cost as much again.
        request = f"{self._link.api}.DIRECT.GET.{stream}.{subject}"
        try:
            return message_in(await self._requests.send(request, timeout=_TIMEOUT), stream)
        except SpoolUnavailable:  # such requests end with the connection, and this waits for it
            return await last_on(self._link, stream, subject)

    async def close(self) -> None:
        """Delete the bodies that were given up, for two seconds at most."""
        await self._writing.deletions.close()

    async def delete(self, blob: BlobRef) -> None:
        """Delete a body's chunks; SpoolError when that is not certain."""
        await delete_body(self._requests, blob)

    async def moved_out(
        self, record: QueueRecord, shard: int, *, lifetime: timedelta
    ) -> QueueRecord:
        """Return the record with a large inline body moved to a shard's bodies, before it waits."""
        content = record.content
        if isinstance(content, BlobRef) or len(content) <= LARGE_WHEN_WAITING:
            return record
        writer = self.writer(shard, lifetime=lifetime)
        try:
            await writer.write(content)
            blob = await writer.finish(destinations=1)
        except BaseException:
            await writer.abort()
            raise
        return replace(record, content=blob, header=header_block(content))

    async def renewed(self, record: QueueRecord, shard: int, *, lifetime: timedelta) -> QueueRecord:
        """
        Return it with a copy of its body in a shard; unchanged if the body cannot be read.

        A few are copied at a time: many small records may name one large body.
        """
        async with self._copies:
            return await self._copied(record, shard, lifetime)

    async def _copied(self, record: QueueRecord, shard: int, lifetime: timedelta) -> QueueRecord:
        content = record.content
        assert isinstance(content, BlobRef)
        writer = self.writer(shard, lifetime=lifetime)
        try:
            async for chunk in self.read(content):
                await writer.write(chunk)
            blob = await writer.finish(destinations=1)
        except (BodyMissing, BodyCorrupt):
            await writer.abort()
            return record  # its attempt will report the missing body
        except BaseException:
            await writer.abort()
            raise
        return replace(record, content=blob)


def _seen(task: asyncio.Task[bytes]) -> None:
    """Look at the error of a chunk that nobody wants any more, so that asyncio does not log it."""
    if not task.cancelled():
        task.exception()
