"""
Deletes bodies. So no role but the operator needs the right to purge or delete.

A chunk is replaced by an empty message that expires later. That takes the chunk's exact subject,
which only those know who wrote the body or have its record. The last chunk is replaced first: if a
process is killed after that, the rest is an unfinished body, which others look for
(`spool.jetstream.bodies.abandoned`).

nats-server makes no note on disk when a message replaces another one, but it does when a message
expires. When it is killed and reads its files again, a chunk that is still in them comes back,
unless the empty message is there as well. So the empty message stays for longer than nats-server
usually takes to write a file anew without the chunk, which is two minutes.

Who accepts mail says in the record how many chunks its body has, and each deletion stores a
message. So of a body with many chunks those are deleted that the stream has.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from postroad.spool.jetstream.counting import count_subjects
from postroad.spool.jetstream.nats.pub_ack import check_ack
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.streams.subjects import (
    body_stream,
    body_subject,
    chunk_subject,
    ended_subject,
)
from postroad.spool.record import BlobRef

_AT_ONCE = 16  # unanswered messages
_TIMEOUT = 2.0  # seconds for one answer
_UNSEEN = 16  # chunks that are deleted without a look at which there are
_GONE = {"Nats-TTL": "300s"}
_GONE_FORMER = {"Nats-TTL": "1s"}  # a rollup is a purge, and of that there is a note on disk


@dataclass(frozen=True, slots=True)
class Chunks:
    """The chunks of a body that may be stored."""

    shard: int
    blob_id: str
    numbered: int  # those before the last one
    last: bool  # whether the last one is among them

    def subjects(self) -> Sequence[str]:
        """Return the subjects of the chunks, the last one first."""
        numbers = [*([None] if self.last else []), *range(self.numbered)]
        return [chunk_subject(self.shard, self.blob_id, number) for number in numbers]


async def delete_chunks(requests: Requests, chunks: Chunks) -> None:
    """Delete chunks; SpoolError when that is not certain."""
    await clear_subjects(requests, chunks.subjects())


async def clear_subjects(requests: Requests, subjects: Sequence[str]) -> None:
    """
    Delete the message on each subject, the first one before the others.

    Raises SpoolError when that is not certain.
    """
    first, rest = subjects[:1], subjects[1:]
    groups = [rest[start : start + _AT_ONCE] for start in range(0, len(rest), _AT_ONCE)]
    for group in (first, *groups):
        await asyncio.gather(*(_clear(requests, subject) for subject in group))


async def _clear(requests: Requests, subject: str) -> None:
    check_ack(await requests.send(subject, b"", headers=_GONE, timeout=_TIMEOUT))


async def delete_body(requests: Requests, body: BlobRef) -> None:
    """Delete a finished body; SpoolError when that is not certain."""
    if body.former:
        await clear_former(requests, body_subject(body.shard, body.blob_id, former=True))
        return
    if body.chunks <= _UNSEEN:
        chunks = Chunks(body.shard, body.blob_id, max(0, body.chunks - 1), last=True)
        await delete_chunks(requests, chunks)
        return
    every = f"{body_subject(body.shard, body.blob_id)}.*"
    found, _ = await count_subjects(requests, body_stream(body.shard), every)
    last = chunk_subject(body.shard, body.blob_id, None)
    numbered = sorted(found.keys() - {last, ended_subject(body)})
    await clear_subjects(requests, [last, *numbered])


async def clear_former(requests: Requests, subject: str) -> None:
    """
    Delete all messages on a subject of an earlier release; SpoolError when that is not certain.

    Those streams keep all messages of a subject, but obey a header that replaces them.
    """
    headers = {"Nats-Rollup": "sub", **_GONE_FORMER}
    check_ack(await requests.send(subject, b"", headers=headers, timeout=_TIMEOUT))
