"""
Settles a record in an order that loses no mail.

First it publishes what follows and waits for the acknowledgement. Then it acknowledges the record
and waits for the reply. Only then it writes events and deletes a body. If a step fails, it is
repeated under an extended lease until it succeeds; the delivery attempt is not repeated.

There are exceptions. If storage is full, or the disk nearly full, a record that would only be
put off is given back unchanged for a while: it must not wait in hand for room that only delivered
mail can make. A record that is too large for the server, even without its body, is given back too.
So is one whose results cannot be stored for minutes, unless a recipient got the mail: other mail
needs its places, and it is attempted again later.

The records of a pack are acknowledged with the last of them. Until then, the history of mail tells
which have ended, if the process dies (`spool.jetstream.cluster.ended_in_packs`).

A record is acknowledged through the consumer that delivered it. A restart of the servers loses that
consumer, and a process that has left the lane, or stops, makes no new one. Then the record is ended
without it (`Succession.end`), so that the lane's next owner does not deliver it.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from postroad.spool.errors import (
    ClaimLost,
    LeaseLost,
    RecordTooLarge,
    SpoolError,
    SpoolFull,
    SpoolUnavailable,
)
from postroad.spool.event import Event, EventType
from postroad.spool.interface import Put, Ready
from postroad.spool.jetstream.bodies.lifetime import outlives_body
from postroad.spool.jetstream.consume.flow_control import FlowControl
from postroad.spool.jetstream.consume.leased import ConsumerContext
from postroad.spool.jetstream.in_flight import LeasedMessage
from postroad.spool.jetstream.nats.requests import PendingAnswer, is_refused
from postroad.spool.jetstream.publish.succession import Succession
from postroad.spool.lanes.keys import Key
from postroad.spool.puts.followers import only_postpones, refers_to
from postroad.spool.record import BlobRef, QueueRecord
from postroad.telemetry.log_limit import LineLimit
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

ACK, NAK = b"+ACK", b"-NAK"
ACK_TIMEOUT = 2.0  # seconds
_PUBLISH_TIMEOUT = timedelta(seconds=15)
_RETRY_PAUSE = 0.25
_FIRST_RETURN, _LONGEST_RETURN = 15.0, 3600.0  # seconds until a returned record comes again
_HISTORY_WRITTEN = 2.0  # seconds after which who gets a pack finds what has ended of it
_LONGEST_COMING = 60.0  # the same of new mail that has to wait: an order to delete it may have come


class Settling:
    """Settles the records of one consumer."""

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
        self._patience = tools.timings.unstored.total_seconds()
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
        Put what follows, then end the record, then write the events; return whether that was done.

        If it was not, the record comes again unchanged. Before each further try, `is_lost` tells
        whether another process may have the record and it was dropped.
        """
        if puts:
            try:
                delivers = any(event.type is EventType.DELIVERY for event in events)
                await self._put(key, record, puts, is_lost, gives_back=not delivers)
            except LeaseLost:
                return False
            except SpoolError as error:
                self._return(key, record, error)
                return False
        self._flow.vacate(key)
        heard = await self._end(key, record)
        self._finish(key, events)
        body = record.content
        if heard and isinstance(body, BlobRef) and not refers_to(puts, body):
            await self._body_ends.add(record)
        return heard or any(put.record.record_id == record.record_id for put in puts)

    async def pass_over(self, key: Key, record: QueueRecord) -> None:
        """End a record that a later form replaces. The body stays, as the later form has it too."""
        self._flow.vacate(key)
        await self._end(key, record)
        self._finish(key, ())

    def finish(
        self, key: Key, record: QueueRecord, events: Sequence[Event], ended: Callable[[bool], None]
    ) -> None:
        """
        End a record of which nothing follows. This is the common case, and needs no task.

        `ended` is called with False if the queue did not confirm it: then call `settle`.
        """
        self._flow.vacate(key)
        entry = self._hand.get(key)
        body = record.content
        if entry is None or isinstance(body, BlobRef):
            ended(False)
            return
        if not self._hand.is_last(key):
            self._finish(key, events)
            ended(True)
            return
        try:
            answer = self._requests.begin(entry.lease.reply, ACK, timeout=ACK_TIMEOUT)
        except SpoolError:
            ended(False)
            return

        def heard(answer: PendingAnswer) -> None:
            if answer.cancelled() or answer.exception() is not None or is_refused(answer.result()):
                ended(False)
                return
            self._finish(key, events)
            ended(True)

        answer.add_done_callback(heard)

    def _finish(self, key: Key, events: Sequence[Event]) -> None:
        """Note that a record has ended. If others of its pack were given back, that goes back."""
        entry = self._hand.get(key)
        returned = self._hand.finish(key)
        is_open = entry is not None and bool(entry.lease.left)
        for event in events:
            self._events.add(event, at_once=is_open)
        if returned is not None:
            self.return_message(returned)

    async def _put(
        self,
        key: Key,
        record: QueueRecord,
        puts: Sequence[Put],
        is_lost: Callable[[], Awaitable[bool]],
        *,
        gives_back: bool,
    ) -> None:
        """
        Store the puts, repeatedly if need be.

        Raises SpoolFull if the record can stay as it was, RecordTooLarge if the server refuses the
        puts even without their bodies, and LeaseLost if the record was lost between two tries. If
        it `gives_back` the record, raises after some minutes whatever the queue says.
        """
        loop = asyncio.get_running_loop()
        latest = loop.time() + (self._patience if gives_back else math.inf)
        ready, slim_all = list(puts), False
        while True:
            if self._capacity.exhausted and only_postpones(record, puts):
                raise SpoolFull("the disk is nearly full")
            try:
                ready = [await self._slim(key, record, put, always=slim_all) for put in ready]
                await self._publisher.publish(ready, timeout=_PUBLISH_TIMEOUT, origin=key)
                return
            except ClaimLost:
                return
            except RecordTooLarge:
                if slim_all:
                    raise
                slim_all = True
            except SpoolError as error:
                if isinstance(error, SpoolFull) and only_postpones(record, puts):
                    raise
                if loop.time() >= latest:
                    raise
                self._warn("what follows of a record cannot be stored yet", record, error)
                await asyncio.sleep(_RETRY_PAUSE)
                if await is_lost():
                    raise LeaseLost(str(record.record_id)) from error

    async def _slim(self, key: Key, former: QueueRecord, put: Put, *, always: bool) -> Put:
        """
        Return a waiting put without a large inline body, as the server copies a schedule.

        A put that may wait longer than its former record's body lives gets a copy of the body. The
        former body is left to expire: an earlier try may have stored a record that refers to it.
        """
        if isinstance(put.place, Ready) and not always:
            return put
        lifetime = max(put.record.deadline - datetime.now(UTC), timedelta(hours=1))
        if outlives_body(put.record, put.place) and put.record.content == former.content:
            record = await self._blobs.renewed(put.record, key.shard, lifetime=lifetime)
        else:
            record = await self._blobs.moved_out(put.record, key.shard, lifetime=lifetime)
        return replace(put, record=record) if record is not put.record else put

    async def _end(self, key: Key, record: QueueRecord) -> bool:
        """Acknowledge a record's message if the others in it have ended; return if that is well."""
        entry = self._hand.get(key)
        if entry is not None and not self._hand.is_last(key):
            return True
        return await self._acknowledge(key, record)

    async def _acknowledge(self, key: Key, record: QueueRecord) -> bool:
        """Return whether the queue confirmed it; if not, the record was given back meanwhile."""
        while (entry := self._hand.get(key)) is not None:
            try:
                await self._requests.send(entry.lease.reply, ACK, timeout=ACK_TIMEOUT)
                return True
            except SpoolError:
                if await self._is_removed(key, record):
                    return True
                await asyncio.sleep(_RETRY_PAUSE)
        return False

    async def _is_removed(self, key: Key, record: QueueRecord) -> bool:
        """End a record whose consumer does not answer; return whether that was done."""
        try:
            await self._succession.end(key, record)
        except SpoolError as error:
            log.debug("a record is not ended yet", error=str(error))
            return False
        return True

    def _return(self, key: Key, record: QueueRecord, why: SpoolError) -> None:
        """Give a record back unchanged for a while: longer each time."""
        if isinstance(why, SpoolFull):
            self._warn("storage is full: a record is given back", record, why)
        elif isinstance(why, SpoolUnavailable):
            self._warn("what follows cannot be stored: a record is given back", record, why)
        else:
            cause = "what follows of a record cannot be stored: it is given back as it was"
            log.error(cause, record_id=str(record.record_id), error=str(why))
        if self._hand.get(key) is None:
            return
        delay = _return_delay(self._hand.returns(key.message) + 1)
        if record.waits_until is not None:
            delay = min(delay, _LONGEST_COMING)
        self._give_back(key, delay)

    def give_back_with_pack(self, key: Key) -> None:
        """Give back a record of a pack together with all others."""
        self._give_back(key, 0.0)

    def _give_back(self, key: Key, delay: float) -> None:
        returned = self._hand.give_back_later(key, delay)
        if returned is not None:
            self.return_message(returned)

    def return_message(self, lease: LeasedMessage) -> None:
        """Give back a message of which nothing is in hand; what has ended does not begin again."""
        self._hand.give_back(lease.key)
        delay = lease.returns_after or 0.0
        if lease.left != lease.all:
            delay = max(delay, _HISTORY_WRITTEN)
        try:
            answer = self._requests.begin(lease.reply, _after(delay), timeout=ACK_TIMEOUT)
        except SpoolError as error:
            log.debug("a record's lease runs out instead", error=str(error))
        else:
            answer.add_done_callback(_is_read)

    def _warn(self, what: str, record: QueueRecord, why: SpoolError) -> None:
        left_out = self._lines.admit(what, "")
        if left_out is not None:
            log.warning(what, record_id=str(record.record_id), error=str(why), left_out=left_out)


def _return_delay(returns: int) -> float:
    """Return seconds, doubled each time: each return counts as a delivery of the record."""
    return min(_FIRST_RETURN * 2.0 ** min(returns - 1, 10), _LONGEST_RETURN)


def nak(delay: timedelta) -> bytes:
    """Return the negative acknowledgement that redelivers a message after a delay."""
    return b'-NAK {"delay": %d}' % int(delay.total_seconds() * 1e9)


SOON = nak(timedelta(seconds=0.25))  # so that another process gets it


def _after(seconds: float) -> bytes:
    """Return the negative acknowledgement that redelivers after some seconds, more or less."""
    return nak(timedelta(seconds=seconds * random.uniform(0.75, 1.25))) if seconds else NAK


def _is_read(answer: PendingAnswer) -> None:
    if not answer.cancelled():
        answer.exception()  # without an answer the lease runs out
