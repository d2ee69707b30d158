"""
Deleting a body as the last record that refers to it ends.

Nobody sees the other records of a body that several destinations share: a ready record's subject
does not name its message. So each process notes which destinations of a body it has ended, and
writes that beside the body: one small message, the set of all that have ended so far, replaced by
compare and set. Whoever completes the set deletes the body, and the set.

What ends within two seconds is written together. Nothing at all is written for a body of one
record, nor when one process ends all of its destinations in that time.

A destination is noted once the acknowledgement of its record is certain. So the set never holds one
whose mail still needs the body, and what a killed process has noted and not written costs room
only: the body goes by its time to live.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from postroad.spool.acks import check_ack
from postroad.spool.blobs import Blobs, clear_subject
from postroad.spool.body_life import time_to_live
from postroad.spool.connection import NatsLink
from postroad.spool.direct_get import last_on
from postroad.spool.errors import ClaimLost, SpoolError
from postroad.spool.ids import RecordId
from postroad.spool.log import get_logger
from postroad.spool.record import BlobRef, QueueRecord
from postroad.spool.requests import Requests
from postroad.spool.subjects import blob_stream, blob_subject, ended_subject

log = get_logger("spool.body_ends")

_MOST = 20_000  # bodies in memory, some 400 octets each
_AT_ONCE = 16  # bodies whose sets are written at once
_TIMEOUT = 2.0  # seconds for one answer
_LAST_WORDS = 2.0  # seconds that closing may take
_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Ended:
    """The destinations of a body that have ended, a bit for each, and the latest deadline seen."""

    body: BlobRef
    bits: int
    deadline: datetime

    @property
    def is_whole(self) -> bool:
        """Whether no destination is left."""
        whole = (1 << self.body.destinations) - 1
        return self.bits & whole == whole

    def plus(self, other: "Ended | None") -> "Ended":
        """Return what has ended by either."""
        if other is None:
            return self
        return Ended(self.body, self.bits | other.bits, max(self.deadline, other.deadline))


class BodyEnds:
    """What a process has ended and not written yet."""

    def __init__(
        self, blobs: Blobs, *, link: NatsLink, requests: Requests, gathering: timedelta
    ) -> None:
        self._blobs = blobs
        self._link = link
        self._requests = requests
        self._gathering = gathering.total_seconds()
        self._noted: dict[str, Ended] = {}
        self._left = 0  # bodies that were forgotten, being too many
        self._tried: set[str] = set()  # those of which something may be written
        self._writing: asyncio.Task[None] | None = None

    async def add(self, record: QueueRecord) -> None:
        """Note that a record is acknowledged, and that nothing that followed needs its body."""
        body = record.content
        if not isinstance(body, BlobRef) or (bit := _bit(body, record.record_id)) is None:
            return  # how many there are is not known
        ended = Ended(body, bit, record.deadline)
        ended = ended.plus(self._noted.get(body.blob_id))
        if ended.is_whole and body.blob_id not in self._tried:
            self._noted.pop(body.blob_id, None)
            try:
                await self._blobs.delete(body)
                return
            except SpoolError as error:
                subject = blob_subject(body.shard, body.blob_id)
                log.debug("a body is deleted later", subject=subject, error=str(error))
        self._note(ended)

    def _note(self, ended: Ended) -> None:
        self._noted[ended.body.blob_id] = ended
        if len(self._noted) > _MOST:
            self._forget(next(iter(self._noted)))
            self._left += 1
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_later())

    def _forget(self, blob_id: str) -> None:
        self._noted.pop(blob_id, None)
        self._tried.discard(blob_id)

    async def _write_later(self) -> None:
        while self._noted:
            await asyncio.sleep(self._gathering)
            await self._write_all()
            self._tell_left()

    def _tell_left(self) -> None:
        if self._left:
            log.warning("bodies are left to their time to live", count=self._left)
            self._left = 0

    async def _write_all(self) -> None:
        """Write what is noted, until the queue is found to take no more for now."""
        noted = list(self._noted.values())
        for start in range(0, len(noted), _AT_ONCE):
            group = noted[start : start + _AT_ONCE]
            if not all(await asyncio.gather(*(self._try(ended) for ended in group))):
                return

    async def _try(self, ended: Ended) -> bool:
        """Write what has ended of one body; whether that was possible, or will be at once."""
        blob_id = ended.body.blob_id
        self._tried.add(blob_id)
        try:
            await self._write(ended)
        except ClaimLost:  # another process's write came between
            return True
        except SpoolError as error:
            subject = ended_subject(ended.body.shard, blob_id)
            log.debug("what has ended is written later", subject=subject, error=str(error))
            self._noted[blob_id] = self._noted.pop(blob_id, ended)  # behind all others
            return False
        if self._noted.get(blob_id) == ended:  # else more has come meanwhile
            self._forget(blob_id)
        return True

    async def _write(self, noted: Ended) -> None:
        body = noted.body
        subject = ended_subject(body.shard, body.blob_id)
        kept = await last_on(self._link, blob_stream(body.shard), subject)
        before = int.from_bytes(kept.data, "big") if kept is not None else 0
        ended = replace(noted, bits=noted.bits | before)
        if ended.is_whole:
            await self._blobs.delete(body)
            if kept is not None:
                await clear_subject(self._requests, subject)
        elif ended.bits != before:
            await self._replace(ended, subject, kept.sequence if kept is not None else 0)

    async def _replace(self, ended: Ended, subject: str, former: int) -> None:
        octets = ended.bits.to_bytes(-(-ended.body.destinations // 8), "big")
        headers = {
            "Nats-Rollup": "sub",
            "Nats-TTL": f"{_seconds(ended.deadline)}s",
            "Nats-Expected-Last-Subject-Sequence": str(former),
        }
        check_ack(await self._requests.send(subject, octets, headers=headers, timeout=_TIMEOUT))

    async def close(self) -> None:
        """Write what is noted, as far as that can be done in two seconds."""
        if self._writing is not None:
            self._writing.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._write_all()
                while self._noted:
                    await asyncio.sleep(_PAUSE)
                    await self._write_all()
        self._left += len(self._noted)
        self._tell_left()


def _bit(body: BlobRef, record_id: RecordId) -> int | None:
    """Return the bit of a record's destination, None where a body's destinations are not known."""
    if body.destinations == 1:
        return 1  # also a copy of its own that was made for any destination of a message
    return 1 << record_id.destination if record_id.destination < body.destinations else None


def _seconds(deadline: datetime) -> int:
    """Return how long a set is kept: as long as a body that is stored now for this deadline."""
    left = max(deadline - datetime.now(UTC), timedelta(0))
    return int(time_to_live(left).total_seconds())
