"""
Acknowledges records to the queue, or returns them by a negative acknowledgement.

A record whose lease is in doubt is dropped without either, because another process may have it.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.errors import SpoolError
from postroad.spool.event import Event
from postroad.spool.interface import Put
from postroad.spool.jetstream.consume.flow_control import FlowControl
from postroad.spool.jetstream.consume.forms import Forms
from postroad.spool.jetstream.consume.leased import ConsumerContext, JetStreamLeasedRecord
from postroad.spool.jetstream.consume.leases import Leases
from postroad.spool.jetstream.consume.packs.returning import PackReturns, by_pack
from postroad.spool.jetstream.consume.poison.returned import Returned
from postroad.spool.jetstream.consume.poison.trials import Trials
from postroad.spool.jetstream.consume.pull.delivered import Delivered
from postroad.spool.jetstream.consume.settle import ACK_TIMEOUT, NAK, Settling
from postroad.spool.jetstream.in_flight import LeasedMessage
from postroad.spool.jetstream.publish.succession import Succession
from postroad.spool.lanes.keys import Key
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.spool.puts.followers import delivers_nothing
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ConsumerRecords:
    """
    The records of one consumer: those in hand, and what is known of others that concern them.

    These are earlier and later forms of a record, records that may have killed their process, and
    notes about returned ones. `tasks` work on them in the background.
    """

    flow: FlowControl
    forms: Forms
    succession: Succession
    trials: Trials
    returned: Returned
    tasks: BackgroundTasks


class Acknowledger:
    """Ends the records of one consumer, or returns them."""

    def __init__(
        self,
        tools: ConsumerContext,
        records: ConsumerRecords,
        settling: Settling,
        leases: Leases[JetStreamLeasedRecord],
    ) -> None:
        self._requests = tools.requests
        self._ended = tools.ended_in_packs
        self._settling = settling
        self._leases = leases
        self._flow = records.flow
        self._forms = records.forms
        self._succession = records.succession
        self._trials = records.trials
        self._returned = records.returned
        self._tasks = records.tasks
        self._packs = PackReturns(tools, records.flow, settling, leases, records.returned)
        self._answers = BackgroundTasks(INTERNAL_ERRORS)

    # ------------------------------------------------------------ ending

    async def settle(
        self, leased: JetStreamLeasedRecord, puts: Sequence[Put], events: Sequence[Event]
    ) -> bool:
        """
        Put what follows, then end the record, then write the events; return whether that was done.

        If its lease is in doubt, another process may have delivered it, and a deferral of ours
        would send it again. So it is dropped if no recipient got it from us, or another process has
        ended it.
        """
        is_lost = partial(self._is_lost, leased, puts)
        if puts and await is_lost():
            return False
        if any(put.record.record_id == leased.record.record_id for put in puts):
            self._forms.leave(leased.key, leased.record)
        settled = await self._settling.settle(leased.key, leased.record, puts, events, is_lost)
        self._let_go(leased.key)
        return settled

    async def _is_lost(self, leased: JetStreamLeasedRecord, puts: Sequence[Put]) -> bool:
        """Drop a record whose lease is in doubt, if that loses nothing; return whether it did."""
        if await self._leases.confirm(leased.key) or not await self._may_forget(leased, puts):
            return False
        record_id = str(leased.record.record_id)
        log.warning("a record was dropped", record_id=record_id, reason="its lease is in doubt")
        self.drop(leased)
        return True

    async def _may_forget(self, leased: JetStreamLeasedRecord, puts: Sequence[Put]) -> bool:
        if delivers_nothing(leased.record, puts):
            return True
        try:
            return await self.has_ended(leased)
        except SpoolError:
            return False

    async def has_ended(self, leased: JetStreamLeasedRecord) -> bool:
        """Whether another process has ended the record; raises SpoolUnavailable."""
        record = leased.record
        if leased.key.part and await self._ended.left_of([record], record.arrival) == [None]:
            return True
        return await self._succession.is_gone(leased.key)

    def finish(
        self, leased: JetStreamLeasedRecord, events: Sequence[Event], ended: Callable[[], None]
    ) -> None:
        """Settle a record of which nothing follows, in the background."""

        def heard(well: bool) -> None:
            if well:
                self._let_go(leased.key)
                ended()
            else:
                self._tasks.spawn(self._settle_then(leased, events, ended))

        self._settling.finish(leased.key, leased.record, events, heard)

    async def _settle_then(
        self, leased: JetStreamLeasedRecord, events: Sequence[Event], ended: Callable[[], None]
    ) -> None:
        await self.settle(leased, (), events)
        ended()

    async def pass_over(self, leased: JetStreamLeasedRecord) -> None:
        """End a record that a later form replaces."""
        await self._settling.pass_over(leased.key, leased.record)
        self._let_go(leased.key)

    # ------------------------------------------------------------ returning

    async def give_back(self, leased: JetStreamLeasedRecord, how: bytes = NAK) -> None:
        """
        Return a record that was not begun, at once or after the delay of a `nak`.

        One of a pack is stored again, without a delay.
        """
        if leased.key.part:
            await self._packs.give_back([leased])
            return
        hand = self._flow.hand
        entry = hand.get(leased.key)
        if entry is None:
            return
        await self._trials.end(leased.key)
        if leased.deliveries > 1:
            await self._returned.look(leased.key)
        if hand.get(leased.key) is not entry:
            return  # `close` has returned it meanwhile
        hand.give_back(leased.key)
        await asyncio.gather(self._returned.note(leased.key), self._say(entry.lease.reply, how))
        self._let_go(leased.key)

    async def give_back_all(self, leased: Iterable[JetStreamLeasedRecord]) -> None:
        """Return records that were not begun, a pack as it is if all its records are there."""
        everything = list(leased)
        packed = [each for each in everything if each.key.part]
        single = [each for each in everything if not each.key.part]
        await asyncio.gather(
            *(self.give_back(each) for each in single),
            *(self._packs.give_back(together) for together in by_pack(packed)),
        )

    def return_message(self, lease: LeasedMessage) -> None:
        """Return a message of which nothing is in hand any more."""
        self._settling.return_message(lease)

    def give_back_all_soon(self, leased: Iterable[JetStreamLeasedRecord]) -> None:
        """Return records in the background."""
        self._tasks.spawn(self.give_back_all(leased))

    def give_back_soon(self, leased: JetStreamLeasedRecord, how: bytes = NAK) -> None:
        """Return a record in the background."""
        self._tasks.spawn(self.give_back(leased, how))

    def drop(self, leased: JetStreamLeasedRecord) -> None:
        """Release a record without a word; it is redelivered when its lease has expired."""
        self._flow.hand.drop(leased.key)
        self._let_go(leased.key)

    def _let_go(self, key: Key) -> None:
        if self._trials.is_tried(key):
            self._tasks.spawn(self._trials.end(key))
        self._flow.let_go(key)

    # ------------------------------------------------------------ records not in hand

    def answer(self, reply: str, word: bytes) -> None:
        """Answer the delivery of a record that is not in hand, in the background."""
        self._answers.spawn(self._say(reply, word))

    def refuse(self, delivered: Delivered, how: bytes) -> None:
        """Return the delivery of a record that is not taken in hand, in the background."""
        self._answers.spawn(self._refuse(delivered, how))

    async def _refuse(self, delivered: Delivered, how: bytes) -> None:
        again = delivered.deliveries > 1
        if again:
            await self._returned.look(delivered.key)
        self._flow.hand.give_back(delivered.key)
        saying = self._say(delivered.message.reply, how)
        # Most are refused once. Only many deliveries make a suspect.
        notes = [self._returned.note(delivered.key)] if again else []
        await asyncio.gather(saying, *notes)

    async def close(self) -> None:
        """Wait until all such answers have arrived; they outlive the consumer's other tasks."""
        await self._answers.end()

    async def _say(self, reply: str, word: bytes) -> None:
        try:
            await self._requests.send(reply, word, timeout=ACK_TIMEOUT)
        except SpoolError as error:
            log.debug("a record's lease runs out instead", error=str(error))
