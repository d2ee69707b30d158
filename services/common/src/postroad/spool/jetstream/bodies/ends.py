"""
Deletes a body when the last record that refers to it ends.

Several destinations of a message may share a body, and no process can find the other records of the
message: the subject of a ready record does not name it. So the destinations that have ended are
stored next to the body, as one small message with a set, which each process extends by
compare-and-set. The process that completes the set deletes the body and the set.

Destinations that end within two seconds are written together. Nothing is written for a body with
one record, nor if one process ends all destinations within that time.

A destination gets into the set only after its record is certainly acknowledged. So no mail in the
set still needs the body. If a process is killed before it writes, the body stays until its time to
live ends. A write that the queue refuses is repeated later (`spool.jetstream.bodies.until_taken`).
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from postroad.spool.errors import SpoolError
from postroad.spool.ids import RecordId
from postroad.spool.jetstream.bodies.deletion import clear_former, clear_subjects
from postroad.spool.jetstream.bodies.lifetime import time_to_live
from postroad.spool.jetstream.bodies.store import Blobs
from postroad.spool.jetstream.bodies.until_taken import UntilTaken
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.direct_get import last_on
from postroad.spool.jetstream.nats.pub_ack import check_ack
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.streams.subjects import body_stream, body_subject, ended_subject
from postroad.spool.record import BlobRef, QueueRecord
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_TIMEOUT = 2.0  # seconds for one answer


@dataclass(frozen=True, slots=True)
class EndedDestinations:
    """The ended destinations of a body, a bit for each, and the latest deadline among them."""

    body: BlobRef
    bits: int
    deadline: datetime

    @property
    def is_whole(self) -> bool:
        """Whether every destination has ended."""
        whole = (1 << self.body.destinations) - 1
        return self.bits & whole == whole

    def plus(self, other: "EndedDestinations | None") -> "EndedDestinations":
        """Return the union with another set."""
        if other is None:
            return self
        return EndedDestinations(
            self.body, self.bits | other.bits, max(self.deadline, other.deadline)
        )


class BodyEnds:
    """The ended destinations that this process has not written yet."""

    def __init__(
        self, blobs: Blobs, *, link: NatsLink, requests: Requests, gathering: timedelta
    ) -> None:
        self._blobs = blobs
        self._link = link
        self._requests = requests
        self._noted: UntilTaken[EndedDestinations] = UntilTaken(self._write, every=gathering)

    async def add(self, record: QueueRecord) -> None:
        """Note that a record is acknowledged, and that no record after it needs its body."""
        body = record.content
        if not isinstance(body, BlobRef) or (bit := _bit(body, record.record_id)) is None:
            return  # the number of destinations is unknown
        subject = body_subject(body.shard, body.blob_id, former=body.former)
        ended = EndedDestinations(body, bit, record.deadline).plus(self._noted.get(subject))
        if ended.is_whole and not self._noted.was_tried(subject):
            self._noted.forget(subject)
            try:
                await self._blobs.delete(body)
                return
            except SpoolError as error:
                log.debug("a body is deleted later", subject=subject, error=str(error))
        self._noted.note(subject, ended)

    async def _write(self, noted: EndedDestinations) -> None:
        body = noted.body
        subject = ended_subject(body)
        kept = await last_on(self._link, body_stream(body.shard, former=body.former), subject)
        if kept is not None and not kept.data:
            return  # the set was whole, and this destination has ended twice
        before = int.from_bytes(kept.data, "big") if kept is not None else 0
        ended = replace(noted, bits=noted.bits | before)
        if ended.is_whole:
            await self._blobs.delete(body)
            if kept is None:
                return
            if body.former:
                await clear_former(self._requests, subject)
            else:
                await clear_subjects(self._requests, [subject])
        elif ended.bits != before:
            await self._replace(ended, subject, kept.sequence if kept is not None else 0)

    async def _replace(self, ended: EndedDestinations, subject: str, former: int) -> None:
        octets = ended.bits.to_bytes(-(-ended.body.destinations // 8), "big")
        headers = {
            "Nats-TTL": f"{_seconds(ended.deadline)}s",
            "Nats-Expected-Last-Subject-Sequence": str(former),
        }
        if ended.body.former:
            headers["Nats-Rollup"] = "sub"
        check_ack(await self._requests.send(subject, octets, headers=headers, timeout=_TIMEOUT))

    async def close(self) -> None:
        """Write what is noted, for two seconds at most."""
        await self._noted.close()


def _bit(body: BlobRef, record_id: RecordId) -> int | None:
    """Return the bit of a record's destination, None if the number of destinations is unknown."""
    if body.destinations == 1:
        return 1  # the record may have any destination number, if the body is a copy of its own
    return 1 << record_id.destination if record_id.destination < body.destinations else None


def _seconds(deadline: datetime) -> int:
    """Return for how many seconds to keep a set: as long as a body that is stored now."""
    left = max(deadline - datetime.now(UTC), timedelta(0))
    return int(time_to_live(left).total_seconds())
