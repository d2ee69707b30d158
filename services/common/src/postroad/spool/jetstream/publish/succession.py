"""
Finds earlier and later forms of one record in the queue, after an interrupted settle.

A process may be killed after it stored the next form of a record and before it acknowledged the
record. Then both forms are in the queue, and the earlier one is handed out again. It must not be
attempted, because the later form has all that is left to do. So before a record that was handed out
before is attempted, the queue is searched for a later form.

The later form might be delivered before the earlier one is handed out again. So a later form that
becomes ready soon names its earlier form in a header, and is not attempted while that is in the
queue. It also has its id in its subject when it is ready, so that it can be found. A form that
waits longer is found as a waiting record. All questions go to the stream's leader, since a follower
may lag.

The server replaces a waiting record in two steps: it stores the new message, and then purges the
old schedule. If it is killed in between, both exist, and the schedule would fire later and be
delivered a second time. So the new message names the schedule that it replaces, and before the
message is attempted, the schedule is removed if it still exists.

An order can make a record ready that would have waited for long, so its earlier form may come again
after it was delivered. So each later form names its earlier form, even if it waits for long, and so
does each record that replaces it, until the leader says that the earlier form is gone.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from postroad.spool.errors import ClaimLost, RecordCorrupt, SpoolUnavailable
from postroad.spool.interface import Deferred, Held, QueueState, Ready
from postroad.spool.jetstream.bodies.lifetime import time_to_live
from postroad.spool.jetstream.nats.direct_get import StoredMessage
from postroad.spool.jetstream.nats.leader_get import ask_leader
from postroad.spool.jetstream.nats.pub_ack import check_ack
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.new_mail import records_in
from postroad.spool.jetstream.streams.subjects import (
    end_subject,
    nobodys_subject,
    stream_name,
    subjects_of_record,
)
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.record import QueueRecord
from postroad.spool.wire.record import decode, encode
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

FOLLOWS = "Postroad-Follows"  # the earlier form, which must end before an attempt
FORMER = "Postroad-Former"  # the same for a form that waits long; it matters only in a claim
REPLACES = "Postroad-Replaces"  # the waiting record that it replaced
# A record of a killed process is handed out again after 20 s, or after 40 s if its lane goes to
# another process. A form that waits longer than this is still waiting then.
SOON = timedelta(minutes=5)

_MOMENTS = (0.0, 0.02, 0.5)  # seconds before each try


def comes_soon(place: QueueState, now: datetime) -> bool:
    """Whether a put with this state may be delivered before its earlier form comes again."""
    match place:
        case Ready():
            return True
        case Deferred(due) | Held(due):
            return due - now < SOON


def following(former: Key, place: QueueState, now: datetime) -> dict[str, str]:
    """Return the header of a put with this state that follows from the record `former`."""
    return {FOLLOWS if comes_soon(place, now) else FORMER: former.token}


def former_of(shard: int, headers: Mapping[str, str]) -> Key | None:
    """Return the record that a stored one of a shard follows from, None if it names none."""
    return Key.parse(shard, headers.get(FOLLOWS) or headers.get(FORMER) or "")


def replacing(subject: str, sequence: int) -> dict[str, str]:
    """Return the headers of a message that replaces the waiting record on a subject, only once."""
    purge = {"Nats-Scheduler": subject, "Nats-Schedule-Next": "purge"}
    return expecting(subject, sequence) | purge


def expecting(subject: str, sequence: int) -> dict[str, str]:
    """Return the headers that store a message only if the subject's last sequence is this one."""
    return {
        "Nats-Expected-Last-Subject-Sequence": str(sequence),
        "Nats-Expected-Last-Subject-Sequence-Subject": subject,
    }


class Succession:
    """Asks the shards' leaders about the forms of a record; SpoolUnavailable without an answer."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def is_followed(self, key: Key, record: QueueRecord) -> bool:
        """Whether a later form of a stored record is in the queue, waiting or ready."""
        # Waiting first: when a schedule fires, the ready record is stored before the purge.
        names = [record]
        if key.stream is QueueStream.INTAKE:  # an earlier build may have stored a later form
            names += [replace(record, record_id=record.record_id.former)]
        for subject in (each for named in names for each in subjects_of_record(key.shard, named)):
            # Later forms are never in the intake, whose sequences say nothing about the others.
            after = key.sequence if key.stream is QueueStream.WAITING else 0
            while (found := await self._find(key.shard, after + 1, subject)) is not None:
                if _step(found) > record.step:
                    return True
                after = found.sequence
        return False

    async def is_gone(self, former: Key) -> bool:
        """Whether an earlier form is acknowledged, now or within half a second."""
        for pause in _MOMENTS:
            await asyncio.sleep(pause)
            if not await self.is_there(former):
                return True
        return False

    async def is_there(self, key: Key) -> bool:
        """Whether a record is not acknowledged yet."""
        return await self._ask(key, {"seq": key.sequence}) is not None

    async def end(self, key: Key, record: QueueRecord) -> None:
        """
        Remove a settled record, if it still exists, whichever consumer handed it out.

        This is for a record whose acknowledgement gets no answer. The intake of an earlier build
        admits no deletion. So the end of new mail is noted where its later forms would be, and who
        gets the record finds the note and acknowledges it. Raises SpoolError if the record may be
        delivered again.
        """
        found = await self._ask(key, {"seq": key.sequence})
        if found is None or not _holds(found, key, record):
            return  # servers that lost their disks restart their sequences: it is another record
        if key.stream is QueueStream.INTAKE:
            await self._note_end(key.shard, record)
            return
        await self._delete(key)

    async def remove(self, key: Key) -> None:
        """Remove a waiting record; ClaimLost if it is gone, so that only one process removes it."""
        try:
            await self._delete(key)
        except SpoolUnavailable:
            if await self.is_there(key):
                raise
            raise ClaimLost("the record is gone") from None

    async def _delete(self, key: Key) -> None:
        query = {"seq": key.sequence, "no_erase": True}
        what = f"STREAM.MSG.DELETE.{stream_name(key.stream, key.shard)}"
        said = await self._requests.ask_api(what, query)
        if "error" in said:
            raise SpoolUnavailable(f"not removed: {said['error'].get('description')}")

    async def _note_end(self, shard: int, record: QueueRecord) -> None:
        ended = record.without_replies().next_step(content=b"", header=b"", trace=b"")
        # A lane may be without an owner for long, and the record comes again with the next one.
        left = max(record.deadline - datetime.now(UTC), timedelta(0))
        headers = {"Nats-TTL": f"{int(time_to_live(left).total_seconds())}s"}
        answer = await self._requests.send(
            end_subject(shard, record), encode(ended), headers=headers
        )
        check_ack(answer)

    async def end_replaced(self, former: Key) -> None:
        """
        Remove a waiting record that was replaced, if it still exists.

        The server purges a schedule, unless it has fired, for a message that says that it replaces
        it. Here that is an empty message for nobody, which expires after a second.
        """
        found = await self._ask(former, {"seq": former.sequence})
        if found is None:
            return
        subject = found.subject
        headers = replacing(subject, former.sequence) | {"Nats-TTL": "1s"}
        answer = await self._requests.send(nobodys_subject(subject), headers=headers)
        with contextlib.suppress(ClaimLost):  # it is gone by now, or has fired
            check_ack(answer)
            log.warning("a replaced record was still in the queue", subject=subject)

    async def _find(self, shard: int, sequence: int, subject: str) -> StoredMessage | None:
        """Return the first message on a subject from a sequence on, where mail waits."""
        stream = stream_name(QueueStream.WAITING, shard)
        query = {"seq": sequence, "next_by_subj": subject}
        return await ask_leader(self._requests, stream, query)

    async def _ask(self, key: Key, query: dict[str, object]) -> StoredMessage | None:
        return await ask_leader(self._requests, stream_name(key.stream, key.shard), query)


def _step(message: StoredMessage) -> int:
    try:
        return decode(message.data).step
    except RecordCorrupt:
        return -1  # it will be held; the readable form is attempted


def _holds(message: StoredMessage, key: Key, record: QueueRecord) -> bool:
    """Whether a message has this record, or is the unreadable message that this record holds."""
    if record.content == message.data:
        return True
    try:
        stored = records_in(message.subject, message.data)
        return any(decode(each, intake=key.intake).record_id == record.record_id for each in stored)
    except RecordCorrupt:
        return False
