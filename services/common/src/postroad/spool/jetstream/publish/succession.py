"""
Earlier and later forms of one record in the queue, after a settle that was cut off.

A process may be killed when what follows of a record is stored and the record not yet acknowledged.
Then both are in the queue, and the earlier one is handed out again. It must not be attempted: the
later form has all that is left of it. So whoever gets a record that was handed out before asks
first whether a later form is there.

That form might have become ready and been delivered meanwhile. Where it comes back soon enough for
that, it names the record it follows from, and is not begun while that is in the queue; and it keeps
its id in its subject as it becomes ready, so that it can be found. One that waits longer is found
waiting. The leader is asked, never a follower that may lag.

Replacing a waiting record has two steps at the server: it stores what takes the record's place, and
then purges the record's schedule. A kill between the two leaves both. So what takes the place names
what it replaces, and before it is attempted the schedule is removed, if that is still there; else
it would fire in its time and be delivered a second time.

An order, too, makes ready at once what would have waited for long, and the record that it follows
from may come again after that was delivered. So each later form names that record, also where it
waits for long, and so does whatever takes its place, until the leader says that it is gone.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta

from postroad.spool.errors import ClaimLost, RecordCorrupt, SpoolUnavailable
from postroad.spool.interface import Held, QueueState, Ready, Scheduled
from postroad.spool.jetstream.in_flight import Key
from postroad.spool.jetstream.nats.direct_get import StoredMessage
from postroad.spool.jetstream.nats.leader_get import ask_leader
from postroad.spool.jetstream.nats.pub_ack import check_ack
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.streams.subjects import (
    nobodys_subject,
    queue_stream,
    subjects_of_record,
)
from postroad.spool.record import QueueRecord
from postroad.spool.wire.record import decode
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

FOLLOWS = "Postroad-Follows"  # the sequence of the record without whose end it is not begun
FORMER = "Postroad-Former"  # the same of what waits too long for that to matter, unless claimed
REPLACES = "Postroad-Replaces"  # the sequence of the waiting record whose place it took
# A record whose holder was killed is handed out again 20 s later, or 40 s when its lane goes to
# another process. What waits longer than this is surely still waiting then.
SOON = timedelta(minutes=5)

_MOMENTS = (0.0, 0.02, 0.5)  # seconds before each look


def comes_soon(place: QueueState, now: datetime) -> bool:
    """Whether what is put there may be delivered before its earlier form is handed out again."""
    match place:
        case Ready():
            return True
        case Scheduled(due) | Held(due):
            return due - now < SOON


def following(former: int, place: QueueState, now: datetime) -> dict[str, str]:
    """Return the header of what follows from the record `former` and is put there."""
    return {FOLLOWS if comes_soon(place, now) else FORMER: str(former)}


def former_of(headers: Mapping[str, str]) -> int:
    """Return the sequence of the record that a stored one follows from, 0 where none is named."""
    return int(headers.get(FOLLOWS) or headers.get(FORMER) or 0)


def replacing(subject: str, sequence: int) -> dict[str, str]:
    """Return the headers of what takes the place of the waiting record on a subject, only once."""
    purge = {"Nats-Scheduler": subject, "Nats-Schedule-Next": "purge"}
    return expecting(subject, sequence) | purge


def expecting(subject: str, sequence: int) -> dict[str, str]:
    """Return the headers of what is stored only while that is the last on a subject."""
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
        # Waiting first: a schedule that fires is stored as ready before it is purged.
        for subject in subjects_of_record(key.shard, record):
            after = key.sequence
            while (found := await self._find(key.shard, after + 1, subject)) is not None:
                if _step(found) > record.step:
                    return True
                after = found.sequence
        return False

    async def is_gone(self, former: Key) -> bool:
        """Whether an earlier form is acknowledged, now or in the moment that this may take."""
        for pause in _MOMENTS:
            await asyncio.sleep(pause)
            if not await self.is_there(former):
                return True
        return False

    async def is_there(self, key: Key) -> bool:
        """Whether a record is not acknowledged yet."""
        return await self._ask(key.shard, {"seq": key.sequence}) is not None

    async def end(self, key: Key, record: QueueRecord) -> None:
        """
        Remove a record that is settled, whichever consumer has handed it out, if it is still there.

        For one whose acknowledgement nobody answers. Raises SpoolUnavailable if it may stay.
        """
        found = await self._ask(key.shard, {"seq": key.sequence})
        if found is None or not _holds(found, record):
            return  # servers that lost their disks count sequences anew: that is another record
        query = {"seq": key.sequence, "no_erase": True}
        subject = f"$JS.API.STREAM.MSG.DELETE.{queue_stream(key.shard)}"
        said = json.loads((await self._requests.send(subject, json.dumps(query).encode())).data)
        if "error" in said:
            raise SpoolUnavailable(f"not removed: {said['error'].get('description')}")

    async def end_replaced(self, former: Key) -> None:
        """
        Remove a waiting record that another has taken the place of, if it is still there.

        What says that it replaces a schedule has that purged, if it has not fired meanwhile; an
        empty message for nobody says so here, and is gone after a second.
        """
        found = await self._ask(former.shard, {"seq": former.sequence})
        if found is None:
            return
        subject = found.subject
        headers = replacing(subject, former.sequence) | {"Nats-TTL": "1s"}
        answer = await self._requests.send(nobodys_subject(subject), headers=headers)
        with contextlib.suppress(ClaimLost):  # it is gone by now, or has fired
            check_ack(answer)
            log.warning("a record was still there that another had replaced", subject=subject)

    async def _find(self, shard: int, sequence: int, subject: str) -> StoredMessage | None:
        """Return the first message on a subject from a sequence on."""
        return await self._ask(shard, {"seq": sequence, "next_by_subj": subject})

    async def _ask(self, shard: int, query: dict[str, object]) -> StoredMessage | None:
        return await ask_leader(self._requests, queue_stream(shard), query)


def _step(message: StoredMessage) -> int:
    try:
        return decode(message.data).step
    except RecordCorrupt:
        return -1  # it will be held; the form that can be read goes on


def _holds(message: StoredMessage, record: QueueRecord) -> bool:
    """Whether a message is this record, or what could not be read and this record stands for."""
    try:
        return decode(message.data).record_id == record.record_id
    except RecordCorrupt:
        return record.content == message.data
