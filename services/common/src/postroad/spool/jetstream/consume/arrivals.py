"""
Decides what is done with a record that has come: delivered, passed over, tried, held or returned.

Most records are queued for delivery at once. A record that may be a repetition is looked up first.
One that may have killed its process waits for a trial, and an unreadable one is held.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from postroad.spool.errors import RecordCorrupt, SpoolError
from postroad.spool.event import Event
from postroad.spool.interface import Held, Put
from postroad.spool.jetstream.cluster.open_elsewhere import OpenElsewhere
from postroad.spool.jetstream.consume.acknowledger import Acknowledger, ConsumerRecords
from postroad.spool.jetstream.consume.leased import ConsumerContext, JetStreamLeasedRecord
from postroad.spool.jetstream.consume.newer import LATER, ReturnsToNewer, is_for_newer, put_off
from postroad.spool.jetstream.consume.packs.contents import PackedRecord
from postroad.spool.jetstream.consume.poison.suspects import (
    POISONOUS,
    UNREADABLE,
    deleted_event,
    deletes_unreadable,
    held_event,
    is_suspect,
    is_unreadable,
    put_on_hold,
    record_of,
    unreadable_of,
)
from postroad.spool.jetstream.consume.pull.delivered import Delivered
from postroad.spool.jetstream.consume.pull.lane_pull import LanePull
from postroad.spool.jetstream.consume.settle import ACK, SOON, nak
from postroad.spool.jetstream.consume.unpacking import Unpacking
from postroad.spool.jetstream.in_flight import Arrival, InFlightEntry, LeasedMessage
from postroad.spool.puts.accepted import kind_in_intake, moved
from postroad.spool.record import QueueRecord
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_LATER = nak(LATER)  # so that a newer version gets it
_AFTER_OTHERS = nak(timedelta(seconds=10))  # when fewer suspects wait


class Arrivals:
    """Implements pull.puller.Receiver, and poison.trials.SuspectHandler."""

    def __init__(
        self,
        tools: ConsumerContext,
        records: ConsumerRecords,
        acknowledger: Acknowledger,
        open_elsewhere: OpenElsewhere,
    ) -> None:
        self._membership = tools.membership
        self._ended = tools.ended
        self._body_streams = tools.body_streams
        self._orders = tools.orders
        self._acknowledger = acknowledger
        self._open_elsewhere = open_elsewhere
        self._flow = records.flow
        self._hand = records.flow.hand
        self._forms = records.forms
        self._succession = records.succession
        self._trials = records.trials
        self._returned = records.returned
        self._tasks = records.tasks
        self._unpacking = Unpacking(
            tools, records, acknowledger, open_elsewhere, self._take_packed, self._tell_held
        )
        self._held: list[Callable[[str], None]] = []
        self._newer = ReturnsToNewer()
        # A dead process's records are redelivered when their leases have expired, and a process
        # that left a lane ends its attempts there. A record that waits for either is returned
        # meanwhile: in hand it would keep the places that the other record needs.
        self._wait_for_former = nak(tools.timings.ack_wait / 2)

    def on_held(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the reason for each record that is held instead of handed out."""
        self._held.append(listener)

    def room_for(self, pull: LanePull) -> int:
        """Return how many more records of a lane and class may be asked for."""
        return self._flow.room_for(pull)

    def deliver(self, delivered: Delivered) -> None:
        """Take a record, or return it at once."""
        # It may have been in a buffer while this process was paused; its lease runs since then.
        sent = min(asyncio.get_running_loop().time(), self._membership.confirmed)
        key = delivered.key
        reply = delivered.message.reply
        arrival = self._hand.arrive(key, reply, sent)
        if arrival is Arrival.FINISHED:
            self._acknowledger.answer(reply, ACK)
        if arrival is Arrival.IN_HAND and (dropped := self._hand.take_dropped(key)):
            self._unpacking.take_dropped(delivered, dropped)
        if arrival is not Arrival.NEW:
            return
        if not self._flow.serves(delivered.pull.key):
            # Another process owns the lane by now, and keeps its limits.
            self._acknowledger.refuse(delivered, SOON)
            return
        if delivered.packed:
            try:
                self._unpacking.take(delivered, sent)
            except RecordCorrupt as error:
                self._take_single(delivered, unreadable_of(delivered, str(error)), sent)
            return
        self._take_single(delivered, record_of(delivered), sent)

    def _take_single(self, delivered: Delivered, record: QueueRecord, sent: float) -> None:
        key = delivered.key
        if is_for_newer(record) and self._leave_to_newer(delivered):
            return
        lease = self._hand.open(key, delivered.message.reply, sent)
        whole = PackedRecord(key, record, len(delivered.message.data))
        leased = self._take_up(delivered, whole, lease)
        others = delivered.waited and (
            not self._forms.begin(key, record)
            or delivered.replaces is not None
            or self._ended.may_name(record, delivered.pull.made_at)
        )
        self._go_on(leased, delivered, doubtful=others or delivered.again or delivered.follows)

    def _take_packed(
        self, delivered: Delivered, packed: PackedRecord, lease: LeasedMessage
    ) -> None:
        self._go_on(self._take_up(delivered, packed, lease), delivered, doubtful=False)

    def _go_on(
        self, leased: JetStreamLeasedRecord, delivered: Delivered, *, doubtful: object
    ) -> None:
        """Queue a record for delivery, after a look if there is any doubt."""
        record = leased.record
        if is_for_newer(record):
            put = put_off(record, datetime.now(UTC))
            self._tasks.spawn(self._acknowledger.settle(leased, [put], []))
        elif doubtful or not self._body_streams.know(record):
            self._tasks.spawn(self._look_first(leased, delivered))
        else:
            self._line_up(leased)

    def _leave_to_newer(self, delivered: Delivered) -> bool:
        """Return a record for a process that knows what it needs; return whether that was done."""
        if not self._newer.admit(delivered.key, asyncio.get_running_loop().time()):
            return False
        self._acknowledger.answer(delivered.message.reply, _LATER)
        return True

    def _take_up(
        self, delivered: Delivered, packed: PackedRecord, lease: LeasedMessage
    ) -> JetStreamLeasedRecord:
        key, record, octets = packed
        pull, places = delivered.pull, self._flow.room.taken_by(octets)
        leased = JetStreamLeasedRecord(record, key, pull.key, delivered.deliveries, places)
        line = (pull.key, pull.traffic_class)
        self._hand.add(InFlightEntry(key, lease, places, leased, line))
        return leased

    def _line_up(self, leased: JetStreamLeasedRecord) -> None:
        """Queue a record for delivery, unless it has to wait, is unreadable or a suspect."""
        if is_unreadable(leased.record):
            self._tasks.spawn(self._end_or_hold(leased))
        elif (put := self._where_it_waits(leased)) is not None:
            self._tasks.spawn(self._acknowledger.settle(leased, [put], self._told_of(put)))
        elif self._is_suspect(leased):
            self._tasks.spawn(self._suspect(leased))
        else:
            self._flow.line_up(leased)

    async def _end_or_hold(self, leased: JetStreamLeasedRecord) -> None:
        """Hold an unreadable record, or delete it by order."""
        now, record = datetime.now(UTC), leased.record
        for order in self._orders.in_force(now):
            if deletes_unreadable(order, record, leased.lane_key.lane):
                log.warning("an unreadable record is deleted", record_id=str(record.record_id))
                event = deleted_event(record, order.said, now, self._membership.process)
                await self._acknowledger.settle(leased, (), [event])
                return
        await self._hold(leased, UNREADABLE)

    def _where_it_waits(self, leased: JetStreamLeasedRecord) -> Put | None:
        """
        Return what new mail becomes that is held or sent later, None if it is handed out.

        It is handed out if it may have to be deleted: to store it may need room that only
        deletions make.
        """
        record, lane = leased.record, leased.lane_key.lane
        if record.waits_until is None:
            return None
        now, kind = datetime.now(UTC), kind_in_intake(record)
        for order in self._orders.in_force(now):
            if order.action == "delete" and order.selection.admits(record, kind, lane):
                return None
        return moved(record, now)

    def _told_of(self, put: Put) -> list[Event]:
        """Return the event of mail that is held from the beginning, which ingress cannot write."""
        record = put.record
        if not isinstance(put.place, Held) or record.hold is None:
            return []
        now, process = datetime.now(UTC), self._membership.process
        return [held_event(record, record.hold.reason, now, process)]

    # ------------------------------------------------------------ repetitions

    async def _look_first(self, leased: JetStreamLeasedRecord, delivered: Delivered) -> None:
        """Queue a record if it is no repetition, and its body may be there; see `succession`."""
        key = leased.key
        try:
            if not await self._body_streams.look_for(leased.record):
                leased.leave(unreadable_of(delivered, "its body is in a stream that there is not"))
            if delivered.replaces is not None:
                await self._succession.end_replaced(delivered.replaces)
            again, waited = delivered.again, delivered.waited
            if await self._forms.another_goes_on(key, leased.record, again=again, waited=waited):
                log.info("another form goes on", record_id=str(leased.record.record_id))
                await self._acknowledger.pass_over(leased)
                return
            if await self._is_under_way(leased, delivered):
                await self._acknowledger.give_back(leased, self._wait_for_former)
                return
            if await self._has_ended(leased, delivered):
                # The process that ended it may have been killed before it noted that for the body.
                await self._acknowledger.settle(leased, (), ())
                return
        except SpoolError as error:
            log.debug("a record's forms cannot be looked for", error=str(error))
            await self._acknowledger.give_back(leased, SOON)
            return
        if self._flow.serves(leased.lane_key):
            self._line_up(leased)
        else:
            await self._acknowledger.give_back(leased)

    async def _is_under_way(self, leased: JetStreamLeasedRecord, delivered: Delivered) -> bool:
        """Whether another process may be sending a record, or the one that it follows from."""
        if delivered.forgotten and self._open_elsewhere.may_be_at(leased.record.site):
            return True
        former = delivered.follows
        return former is not None and not await self._forms.is_gone(former)

    async def _has_ended(self, leased: JetStreamLeasedRecord, delivered: Delivered) -> bool:
        """Whether the servers brought back a record that has ended, in part or as a whole."""
        record, restart = leased.record, delivered.pull.made_at
        if not (
            delivered.forgotten or (delivered.waited and self._ended.may_name(record, restart))
        ):
            return False
        left = await self._ended.left_of(record, restart)
        if left is not record:
            log.warning(
                "mail that has ended came back, as nats-server was killed",
                record_id=str(record.record_id),
                queue_id=record.record_id.queue_id,
            )
        if left is not None:
            leased.leave(left)
        return left is None

    # ------------------------------------------------------------ suspects

    def _is_suspect(self, leased: JetStreamLeasedRecord) -> bool:
        if leased.key.part:
            return False  # a pack that came too often was stored singly, see `unpacking`
        return is_suspect(leased.record, leased.deliveries - self._hand.returns(leased.key))

    async def _suspect(self, leased: JetStreamLeasedRecord) -> None:
        """Let a record wait for a trial, unless so many of its deliveries were only returns."""
        await self._returned.look(leased.key)
        if not self._flow.serves(leased.lane_key):
            await self._acknowledger.give_back(leased)
        elif not self._is_suspect(leased):
            self._line_up(leased)
        elif not self._trials.add(leased):
            self.put_off(leased)

    def hand_out(self, leased: JetStreamLeasedRecord) -> None:
        """Hand a suspect to delivery next."""
        if self._flow.serves(leased.lane_key):
            self._flow.line_up_first(leased)
        else:
            self._acknowledger.give_back_soon(leased)

    def put_off(self, leased: JetStreamLeasedRecord) -> None:
        """Return a suspect to the queue until fewer wait."""
        self._acknowledger.give_back_soon(leased, _AFTER_OTHERS)

    def hold(self, leased: JetStreamLeasedRecord) -> None:
        """Hold a suspect that has killed too many processes."""
        self._tasks.spawn(self._hold(leased, POISONOUS))

    async def _hold(self, leased: JetStreamLeasedRecord, reason: str) -> None:
        put = put_on_hold(leased.record, reason, datetime.now(UTC))
        event = self._tell_held(leased.record, reason, leased.deliveries)
        await self._acknowledger.settle(leased, [put], [event])

    def _tell_held(self, record: QueueRecord, reason: str, deliveries: int) -> Event:
        log.error(
            "a record is held",
            queue_id=record.record_id.queue_id,
            record_id=str(record.record_id),
            reason=reason,
            deliveries=deliveries,
        )
        for listener in self._held:
            listener(reason)
        return held_event(record, reason, datetime.now(UTC), self._membership.process)
