"""
Ending a record in hand, in the order that is the product's promise.

Publish what follows, wait for the acknowledgement, acknowledge the record with a reply, and only
then write events and delete a body. A settle that fails is tried again, under an extended lease,
until it succeeds; the attempt is not repeated. Only when storage is full, or the disk nearly so, a
record that nothing has become of is given back as it is, for a while: if all that is in hand waited
for room, nothing would be delivered that makes some. What is too large for the server whatever is
left out is given back too, as no later try would change that.

An acknowledgement goes through the consumer that handed the record out. A restart of the servers
loses that, and a process that has left the lane, or stops, gets no other. Then the record is
removed by its sequence: what is settled must not be handed out again, whoever has the lane.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from postroad.spool.errors import ClaimLost, LeaseLost, RecordTooLarge, SpoolError, SpoolFull
from postroad.spool.event import Event
from postroad.spool.interface import Put, Ready
from postroad.spool.jetstream.bodies.lifetime import outlives_body
from postroad.spool.jetstream.consume.flow_control import FlowControl
from postroad.spool.jetstream.consume.leased import ConsumerContext
from postroad.spool.jetstream.in_flight import Key
from postroad.spool.jetstream.nats.requests import Answer, is_refused
from postroad.spool.jetstream.publish.succession import Succession
from postroad.spool.record import BlobRef, QueueRecord, RecipientState
from postroad.telemetry.log_limit import LineLimit
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

ACK_TIMEOUT = 2.0  # seconds
_PUBLISH_TIMEOUT = timedelta(seconds=15)
_RETRY_PAUSE = 0.25
_FIRST_RETURN, _LONGEST_RETURN = 15.0, 3600.0  # seconds until a returned record comes again


class Settling:
    """Settles records of the table in hand."""

    def __init__(self, tools: ConsumerContext, flow: FlowControl, succession: Succession) -> None:
        self._flow = flow
        self._hand = flow.hand
        self._requests = tools.requests
        self._publisher = tools.publisher
        self._succession = succession
        self._blobs = tools.blobs
        self._body_ends = tools.body_ends
        self._events = tools.events
        self._capacity = tools.capacity
        self._lines = LineLimit()  # of a full disk each record in hand would tell, again and again

    async def settle(
        self,
        key: Key,
        record: QueueRecord,
        puts: Sequence[Put],
        events: Sequence[Event],
        is_lost: Callable[[], Awaitable[bool]],
    ) -> bool:
        """
        Put what follows, then end the record, then write the events.

        `is_lost` is asked before each further try whether the record may be in other hands, so that
        it is dropped. Return whether the record has come to this; if not, it comes again as it was.
        """
        if puts:
            try:
                await self._put(key, record, puts, is_lost)
            except (SpoolFull, RecordTooLarge) as error:
                await self._return(key, record, error)
                return False
            except LeaseLost:
                return False
        self._flow.vacate(key)
        heard = await self._acknowledge(key, record)
        self._hand.finish(key)
        for event in events:
            self._events.add(event)
        body = record.content
        if heard and isinstance(body, BlobRef) and not _refers(puts, body):
            await self._body_ends.add(record)
        return heard or any(put.record.record_id == record.record_id for put in puts)

    async def pass_over(self, key: Key, record: QueueRecord) -> None:
        """End a record that a later form has taken the place of; that has its body, too."""
        self._flow.vacate(key)
        await self._acknowledge(key, record)
        self._hand.finish(key)

    def finish(
        self, key: Key, record: QueueRecord, events: Sequence[Event], ended: Callable[[bool], None]
    ) -> None:
        """
        End a record of which nothing follows: the common case, without a task for each.

        `ended` is told whether that was heard; if not, `settle` is the way.
        """
        self._flow.vacate(key)
        entry = self._hand.get(key)
        body = record.content
        if entry is None or isinstance(body, BlobRef):
            ended(False)
            return
        try:
            answer = self._requests.begin(entry.reply, b"+ACK", timeout=ACK_TIMEOUT)
        except SpoolError:
            ended(False)
            return

        def heard(answer: Answer) -> None:
            if answer.cancelled() or answer.exception() is not None or is_refused(answer.result()):
                ended(False)
                return
            self._hand.finish(key)
            for event in events:
                self._events.add(event)
            ended(True)

        answer.add_done_callback(heard)

    async def _put(
        self,
        key: Key,
        record: QueueRecord,
        puts: Sequence[Put],
        is_lost: Callable[[], Awaitable[bool]],
    ) -> None:
        """
        Store them, whatever it takes; SpoolFull when the record may as well stay as it was.

        RecordTooLarge when the server takes them not even with their bodies elsewhere, LeaseLost
        when the record was lost between two tries.
        """
        ready, slim_all = list(puts), False
        while True:
            if self._capacity.exhausted and _only_postpones(record, puts):
                raise SpoolFull("the disk is nearly full")
            try:
                ready = [await self._slim(record, put, always=slim_all) for put in ready]
                await self._publisher.publish(
                    ready, shard=key.shard, timeout=_PUBLISH_TIMEOUT, origin=key.sequence
                )
                return
            except ClaimLost:
                return
            except RecordTooLarge:
                if slim_all:
                    raise
                slim_all = True
            except SpoolError as error:
                if isinstance(error, SpoolFull) and _only_postpones(record, puts):
                    raise
                self._warn("what follows of a record cannot be stored yet", record, error)
                await asyncio.sleep(_RETRY_PAUSE)
                if await is_lost():
                    raise LeaseLost(str(record.record_id)) from error

    async def _slim(self, former: QueueRecord, put: Put, *, always: bool) -> Put:
        """
        Return a waiting put without a large inline body: schedules are copied as they fire.

        One that may wait longer than the body of its former record lives gets a copy of that. The
        former body is left to its time to live: an earlier try may have stored a record with it.
        """
        if isinstance(put.place, Ready) and not always:
            return put
        lifetime = max(put.record.deadline - datetime.now(UTC), timedelta(hours=1))
        if outlives_body(put.record, put.place) and put.record.content == former.content:
            record = await self._blobs.renewed(put.record, lifetime=lifetime)
        else:
            record = await self._blobs.moved_out(put.record, lifetime=lifetime)
        return replace(put, record=record) if record is not put.record else put

    async def _acknowledge(self, key: Key, record: QueueRecord) -> bool:
        """Whether the queue has heard of it; if not, the record was given back meanwhile."""
        while (entry := self._hand.get(key)) is not None:
            try:
                await self._requests.send(entry.reply, b"+ACK", timeout=ACK_TIMEOUT)
                return True
            except SpoolError:
                if await self._is_removed(key, record):
                    return True
                await asyncio.sleep(_RETRY_PAUSE)
        return False

    async def _is_removed(self, key: Key, record: QueueRecord) -> bool:
        """Remove a record whose consumer does not answer; return whether it is gone."""
        try:
            await self._succession.end(key, record)
        except SpoolError as error:
            log.debug("a record is not ended yet", error=str(error))
            return False
        return True

    async def _return(self, key: Key, record: QueueRecord, why: SpoolError) -> None:
        """Give a record back as it was, for a while, the longer the more often."""
        if isinstance(why, SpoolFull):
            self._warn("storage is full: a record is given back", record, why)
        else:
            cause = "what follows of a record cannot be stored: it is given back as it was"
            log.error(cause, record_id=str(record.record_id), error=str(why))
        entry = self._hand.get(key)
        if entry is None:
            return
        delay = _return_delay(self._hand.give_back(key))
        try:
            said = b'-NAK {"delay": %d}' % int(delay * random.uniform(0.75, 1.25) * 1e9)
            await self._requests.send(entry.reply, said, timeout=ACK_TIMEOUT)
        except SpoolError as error:
            log.debug("a record's lease runs out instead", error=str(error))

    def _warn(self, what: str, record: QueueRecord, why: SpoolError) -> None:
        left_out = self._lines.admit(what, "")
        if left_out is not None:
            log.warning(what, record_id=str(record.record_id), error=str(why), left_out=left_out)


def _return_delay(returns: int) -> float:
    """Return seconds, doubled each time: deliveries are counted, and eight of them are poison."""
    return min(_FIRST_RETURN * 2.0 ** min(returns - 1, 10), _LONGEST_RETURN)


def delivers_nothing(record: QueueRecord, puts: Sequence[Put]) -> bool:
    """
    Whether the record stays in the queue, and nobody has got it by this attempt.

    Then who has it meanwhile loses nothing if this attempt's outcome is forgotten, reports of
    refusals with it: the next attempt is told the same.
    """
    own = [put.record for put in puts if put.record.record_id == record.record_id]
    return bool(own) and all(_delivered(each) == _delivered(record) for each in own)


def _delivered(record: QueueRecord) -> int:
    return sum(each.state is RecipientState.DELIVERED for each in record.recipients)


def _only_postpones(record: QueueRecord, puts: Sequence[Put]) -> bool:
    """Whether nothing is lost, and nobody gets mail twice, if these puts are never stored."""
    return all(
        put.record.record_id == record.record_id
        and (put.record.resume_from or not isinstance(put.place, Ready))
        and len(put.record.pending) == len(record.pending)
        for put in puts
    )


def _refers(puts: Sequence[Put], body: BlobRef) -> bool:
    return any(
        isinstance(put.record.content, BlobRef) and put.record.content.blob_id == body.blob_id
        for put in puts
    )
