"""
The blob store: large bodies as chunks on streams of their own, in bounded memory.

A body is written in chunks (`spool.jetstream.bodies.writer`) and read by pages of direct gets. A
chunk whose acknowledgement is lost is sent again after later ones, so chunks are not always stored
in order, and the reader sorts them. A lagging follower may answer a direct get, so a chunk counts
as missing only if the stream's leader does not have it. A body without records expires by its time
to live.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta

from postroad.mail.header import header_block
from postroad.spool.errors import BodyCorrupt, BodyMissing
from postroad.spool.jetstream.bodies.unfinished import UnfinishedBody
from postroad.spool.jetstream.bodies.writer import WINDOW, BlobWriter, Writing, clear_subject
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.direct_get import StoredMessage, page
from postroad.spool.jetstream.nats.leader_get import ask_leader
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.streams.subjects import blob_stream, blob_subject
from postroad.spool.record import BlobRef, QueueRecord

LARGE_WHEN_WAITING = 16 * 1024  # octets: the server copies a scheduled message when it is due

_PAGE = 2  # chunks read ahead


class Blobs:
    """The bodies of all shards."""

    def __init__(self, link: NatsLink, requests: Requests, *, retry: timedelta) -> None:
        self._link = link
        self._requests = requests
        self._writing = Writing(requests, retry=retry)

    def writer(
        self, shard: int, *, lifetime: timedelta, portion: UnfinishedBody | None = None
    ) -> BlobWriter:
        """Begin a body; that of new mail has a `portion` of the room for unfinished content."""
        return BlobWriter(self._writing, shard, lifetime=lifetime, portion=portion)

    async def read(self, blob: BlobRef) -> AsyncIterator[bytes]:
        """Yield a body's chunks; the last one only after count, size and checksum are checked."""
        digest, size = hashlib.sha256(), 0
        held: bytes | None = None
        async for chunk in self._chunks(blob):
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
        """Yield the chunks in order; at most a window of them is in memory at a time."""
        number, after = 0, 0
        early: dict[int, bytes] = {}  # chunks that were read too early
        passed: dict[int, int] = {}  # sequences of chunks that were too many to keep
        while number < blob.chunks:
            if number in early:
                yield early.pop(number)
            elif number in passed:
                [again] = await self._read(blob, after=passed.pop(number) - 1, most=1)
                yield again.data
            else:
                for message in await self._read(blob, after=after, most=_PAGE):
                    after, chunk = message.sequence, self._number(message.headers)
                    if chunk == number or (number < chunk and len(early) < WINDOW):
                        early[chunk] = message.data
                    else:
                        passed[chunk] = message.sequence
                continue
            number += 1

    async def _read(self, blob: BlobRef, *, after: int, most: int) -> Sequence[StoredMessage]:
        """Return at least one chunk after a sequence; BodyMissing when there is none."""
        subject, stream = blob_subject(blob.shard, blob.blob_id), blob_stream(blob.shard)
        read = await page(self._link, stream, subject, after=after, messages=most)
        messages = read.messages
        if not messages:
            # A follower may lag, but the leader knows.
            query = {"seq": after + 1, "next_by_subj": subject}
            found = await ask_leader(self._requests, stream, query)
            if found is None:
                whole = "is not there" if not after else "is not whole"
                raise BodyMissing(f"body {blob.blob_id} {whole}")
            messages = [found]
        if any("Nats-Rollup" in message.headers for message in messages):
            raise BodyMissing(f"body {blob.blob_id} was deleted")
        return messages

    @staticmethod
    def _number(headers: object) -> int:
        try:
            return int(headers["Postroad-Chunk"])  # type: ignore[index]
        except (KeyError, ValueError, TypeError) as error:
            raise BodyCorrupt("a chunk without its number") from error

    async def close(self) -> None:
        """Delete the bodies that were given up, for two seconds at most."""
        await self._writing.deletions.close()

    async def delete(self, blob: BlobRef) -> None:
        """Delete a body's chunks; SpoolError when that is not certain."""
        await clear_subject(self._requests, blob_subject(blob.shard, blob.blob_id))

    async def moved_out(self, record: QueueRecord, *, lifetime: timedelta) -> QueueRecord:
        """Return the record with a large inline body moved to the blob store, before it waits."""
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
        """Return the record with a copy of its body; unchanged if the body cannot be read."""
        content = record.content
        assert isinstance(content, BlobRef)
        writer = self.writer(record.record_id.shard, lifetime=lifetime)
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
