"""
Takes packs in hand, record by record.

A pack that comes for the first time needs nothing more. One that comes again may have records that
have ended, or that were put back into the queue. The history and the queue tell which, once they
are asked after its arrival. Until then no record of it begins.

A pack that has come too often may have a record that kills its process. Then its records are stored
singly, all of them at once, so that each has a count of its own.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from postroad.spool.errors import (
    PublishRefused,
    RecordTooLarge,
    SpoolError,
    SpoolFull,
)
from postroad.spool.event import Event
from postroad.spool.interface import Put, Ready
from postroad.spool.jetstream.cluster.open_elsewhere import OpenElsewhere
from postroad.spool.jetstream.consume.acknowledger import Acknowledger, ConsumerRecords
from postroad.spool.jetstream.consume.leased import ConsumerContext
from postroad.spool.jetstream.consume.packs.contents import PackedRecord, records_of
from postroad.spool.jetstream.consume.poison.suspects import (
    UNREADABLE,
    is_suspect,
    is_unreadable,
    put_on_hold,
)
from postroad.spool.jetstream.consume.pull.delivered import Delivered
from postroad.spool.jetstream.consume.settle import ACK, SOON, nak
from postroad.spool.jetstream.in_flight import LeasedMessage
from postroad.spool.record import QueueRecord
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_STORED_WITHIN = timedelta(seconds=5)

Records = Sequence[PackedRecord]

TakeRecord = Callable[[Delivered, PackedRecord, LeasedMessage], None]
"""Takes a record of a pack in hand, with the lease of the pack."""

TellHeld = Callable[[QueueRecord, str, int], Event]
"""Tells that a record is held, with the reason and its deliveries, and returns the event."""


class Unpacking:
    """The packs of one consumer; `take_record` gets their records."""

    def __init__(
        self,
        tools: ConsumerContext,
        records: ConsumerRecords,
        acknowledger: Acknowledger,
        open_elsewhere: OpenElsewhere,
        take_record: TakeRecord,
        tell_held: TellHeld,
    ) -> None:
        self._tell_held = tell_held
        self._events = tools.events
        self._publisher = tools.publisher
        self._ended = tools.ended_in_packs
        self._acknowledger = acknowledger
        self._open_elsewhere = open_elsewhere
        self._take_record = take_record
        self._flow = records.flow
        self._hand = records.flow.hand
        self._succession = records.succession
        self._returned = records.returned
        self._tasks = records.tasks
        self._wait_for_former = nak(tools.timings.ack_wait / 2)

    def take(self, delivered: Delivered, sent: float) -> None:
        """Take a pack that is not in hand. Raises RecordCorrupt if it is no pack."""
        records = records_of(delivered)
        lease = self._hand.open(
            delivered.key, delivered.message.reply, sent, [each.key.part for each in records]
        )
        self._hand.pin(lease)
        records = [each for each in records if each.key.part in lease.left]
        if delivered.again:
            self._tasks.spawn(self._look_first(delivered, records, lease))
            return
        self._take_records(delivered, records, lease)

    def take_dropped(self, delivered: Delivered, dropped: Collection[int]) -> None:
        """Take the records of a pack again that were dropped, and only these."""
        lease = self._hand.lease(delivered.key)
        if lease is None:
            return
        self._hand.pin(lease)
        records = [each for each in records_of(delivered) if each.key.part in dropped]
        self._tasks.spawn(self._look_again(delivered, records, lease))

    def _take_records(self, delivered: Delivered, records: Records, lease: LeasedMessage) -> None:
        if delivered.again:  # what is to be asked about it was asked for the whole pack
            delivered = replace(delivered, again=False, forgotten=False)
        for each in records:
            self._take_record(delivered, each, lease)
        if not lease.left:
            self._acknowledger.answer(lease.reply, ACK)
        self._unpin(lease)

    def _unpin(self, lease: LeasedMessage) -> None:
        returned = self._hand.unpin(lease)
        if returned is not None:  # others of the pack were given back meanwhile
            self._acknowledger.return_message(returned)

    # ------------------------------------------------------------ packs that come again

    async def _look_first(
        self, delivered: Delivered, records: Records, lease: LeasedMessage
    ) -> None:
        """Take what is left of a pack, or return it as it is."""
        refusal: bytes | None = SOON
        try:
            if self._may_be_sent(delivered, records):
                refusal = self._wait_for_former
                return
            records = await self._left_of(delivered, records, lease)
            if await self._is_suspect(delivered, records):
                records = await self._part(delivered, records, lease)
            if not records or self._flow.serves(delivered.pull.key):
                refusal = None
        except SpoolError as error:
            log.debug("what is left of a pack is not known", error=str(error))
        finally:
            if refusal is None:
                self._take_records(delivered, records, lease)
            else:
                self._unpin(lease)
                self._acknowledger.refuse(delivered, refusal)

    async def _look_again(
        self, delivered: Delivered, records: Records, lease: LeasedMessage
    ) -> None:
        """Take the records that were dropped, or leave them until the pack comes again."""
        parts = {each.key.part for each in records}
        left: Records | None = None
        try:
            left = await self._left_of(delivered, records, lease)
        except SpoolError as error:
            log.debug("what is left of a pack is not known", error=str(error))
        if left is None or not self._flow.serves(delivered.pull.key):
            lease.dropped |= parts & lease.left
            self._unpin(lease)
        else:
            self._take_records(delivered, left, lease)

    def _may_be_sent(self, delivered: Delivered, records: Records) -> bool:
        """Whether another process may be sending a record of a pack that the servers forgot."""
        elsewhere = (self._open_elsewhere.may_be_at(each.record.site) for each in records)
        return delivered.forgotten and any(elsewhere)

    async def _left_of(
        self, delivered: Delivered, records: Records, lease: LeasedMessage
    ) -> Records:
        """Return what is left of records, and note which have ended."""
        # A later form may end meanwhile, which the history tells a little later.
        later = [await self._succession.is_followed(each.key, each.record) for each in records]
        found = await self._ended.left_of([each.record for each in records], delivered.stored)
        left = []
        for each, record, followed in zip(records, found, later, strict=True):
            if record is None or followed:
                self._hand.end_part(lease, each.key)
            else:
                left.append(each._replace(record=record))
        return left

    async def _is_suspect(self, delivered: Delivered, records: Records) -> bool:
        if not any(self._may_kill(delivered, each.record) for each in records):
            return False
        await self._returned.look(delivered.key)
        return any(self._may_kill(delivered, each.record) for each in records)

    def _may_kill(self, delivered: Delivered, record: QueueRecord) -> bool:
        return is_suspect(record, delivered.deliveries - self._hand.returns(delivered.key))

    async def _part(self, delivered: Delivered, records: Records, lease: LeasedMessage) -> Records:
        """
        Store the records of a pack singly; return those that go on in the pack: all or none.

        Raises SpoolUnavailable if that may have been done: then they are found next time.
        """
        puts = [_alone(each.record) for each in records]
        if not puts:
            return records
        try:
            await self._publisher.publish(puts, timeout=_STORED_WITHIN, origin=delivered.key)
        except (SpoolFull, PublishRefused, RecordTooLarge) as error:
            log.warning("a pack that may kill its processes is tried as it is", error=str(error))
            return records
        lease.left.clear()
        for record in filter(is_unreadable, (each.record for each in records)):
            self._events.add(self._tell_held(record, UNREADABLE, delivered.deliveries))
        return []


def _alone(record: QueueRecord) -> Put:
    if is_unreadable(record):
        return put_on_hold(record, UNREADABLE, datetime.now(UTC))
    return Put(record.next_step(), Ready())
