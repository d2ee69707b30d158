"""
The blob store: large bodies as chunks on streams of their own, in bounded memory.

A body is written in chunks (`spool.jetstream.bodies.writer`), each on a subject of its own, and
read by a direct get for each (`spool.jetstream.bodies.reading`). A lagging follower may answer, so
a chunk counts as missing only if the stream's leader does not have it. A body without records
expires by its time to live.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

from postroad.mail.header import header_block
from postroad.spool.errors import BodyCorrupt, BodyMissing
from postroad.spool.jetstream.bodies.deletion import delete_body
from postroad.spool.jetstream.bodies.reading import BodyContent, ChunkReader
from postroad.spool.jetstream.bodies.unfinished import UnfinishedBody
from postroad.spool.jetstream.bodies.writer import BlobWriter, Writing
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.record import BlobRef, QueueRecord

LARGE_WHEN_WAITING = 16 * 1024  # octets: the server copies a scheduled message when it is due

_COPIES = 4  # at a time; each has a chunk in memory, and those that are not acknowledged


class Blobs:
    """The bodies of all shards."""

    def __init__(self, link: NatsLink, requests: Requests, *, retry: timedelta) -> None:
        self._requests = requests
        self._writing = Writing(requests, retry=retry)
        self._reader = ChunkReader(link, requests)
        self._copies = asyncio.Semaphore(_COPIES)

    def writer(
        self, shard: int, *, lifetime: timedelta, portion: UnfinishedBody | None = None
    ) -> BlobWriter:
        """Begin a body; that of new mail has a `portion` of the room for unfinished content."""
        return BlobWriter(self._writing, shard, lifetime=lifetime, portion=portion)

    def read(self, blob: BlobRef, *, before: bytes = b"") -> AsyncIterator[bytes]:
        """
        Return the octets `before` a body, and its chunks.

        The last chunk comes only after count, size and checksum are checked.
        """
        return BodyContent(self._reader, blob, before=before)

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
