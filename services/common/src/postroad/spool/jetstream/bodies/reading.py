"""
Reads a body chunk by chunk, with one chunk in memory.

Each chunk is read when the caller asks for it, so the caller decides how much memory a body takes.
A record tells how many chunks its body has. So the last one is known when it comes, and it is
checked before the caller gets it. Without it nobody can take the content for whole.

This is an iterator and no generator: a generator would hold each chunk until the next one is there.
"""

import hashlib
from collections.abc import AsyncIterator
from typing import Self

from postroad.spool.errors import BodyCorrupt, BodyMissing, SpoolUnavailable
from postroad.spool.jetstream.bodies.former import FormerBodies
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
from postroad.spool.record import BlobRef

_TIMEOUT = READ_TIMEOUT.total_seconds()


class ChunkReader:
    """Reads chunks of all bodies. A lagging follower may answer, but the leader has the word."""

    def __init__(self, link: NatsLink, requests: Requests) -> None:
        self._link = link
        self._requests = requests
        self._former = FormerBodies(link, requests)

    def former(self, blob: BlobRef) -> AsyncIterator[bytes]:
        """Return the chunks of a body of an earlier release."""
        return self._former.chunks(blob)

    async def chunk(self, blob: BlobRef, number: int) -> bytes:
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


class BodyContent:
    """The octets `before` a body, if there are any, and its chunks, as an async iterator."""

    def __init__(self, reader: ChunkReader, blob: BlobRef, *, before: bytes = b"") -> None:
        self._reader = reader
        self._blob = blob
        self._before = before
        self._former = reader.former(blob) if blob.former else None
        self._digest = hashlib.sha256()
        self._size = 0
        self._number = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._before:
            before, self._before = self._before, b""
            return before
        if self._number == self._blob.chunks:
            self._check(is_last=True)
            raise StopAsyncIteration
        chunk = await self._next()
        self._number += 1
        self._size += len(chunk)
        self._digest.update(chunk)
        self._check(is_last=self._number == self._blob.chunks)
        return chunk

    async def _next(self) -> bytes:
        if self._former is None:
            return await self._reader.chunk(self._blob, self._number)
        return await anext(self._former)

    def _check(self, *, is_last: bool) -> None:
        """Check what has come; BodyCorrupt if it is not the body, or more than the record says."""
        blob, size = self._blob, self._size
        if size > blob.size or (
            is_last and (size != blob.size or self._digest.digest() != blob.sha256)
        ):
            raise BodyCorrupt(f"body {blob.blob_id} does not match its record")
