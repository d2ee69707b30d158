"""
Delivery's side of the queue in JetStream: records in hand and the lanes they come from.

What comes is handed out express first, as there is room; a lane with a backlog takes half of the
places and leaves the rest to the others. Large records take several (`spool.room`). A record is
this process's while it has its lease (`spool.jetstream.consume.leases`), and the lanes are shared
out among all processes (`spool.jetstream.cluster.lane_ownership`).
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from postroad.mail.traffic import TrafficClass
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.errors import SpoolError
from postroad.spool.event import Event
from postroad.spool.interface import LeasedRecord, Put
from postroad.spool.jetstream.cluster.lane_ownership import LaneOwnership
from postroad.spool.jetstream.cluster.open_elsewhere import OpenElsewhere
from postroad.spool.jetstream.consume.forms import Forms
from postroad.spool.jetstream.consume.leased import ConsumerContext, JetStreamLeasedRecord
from postroad.spool.jetstream.consume.leases import Leases
from postroad.spool.jetstream.consume.overdue import renew_overdue
from postroad.spool.jetstream.consume.pull import Delivered, LanePull, Puller
from postroad.spool.jetstream.consume.returned import Returned
from postroad.spool.jetstream.consume.settle import ACK_TIMEOUT, Settling, delivers_nothing
from postroad.spool.jetstream.consume.suspects import (
    POISONOUS,
    UNREADABLE,
    held_event,
    is_suspect,
    is_unreadable,
    put_on_hold,
    record_of,
)
from postroad.spool.jetstream.consume.trials import Trials
from postroad.spool.jetstream.consume.unserved import Unserved
from postroad.spool.jetstream.in_flight import Arrival, Entry, InFlight, Key
from postroad.spool.jetstream.publish.succession import Succession
from postroad.spool.lanes.assignment import LaneKey
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.spool.record import KNOWN_FEATURES
from postroad.spool.room import Room
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_TICK = 0.5  # seconds between looks at lanes
_SUSPECTS = 200  # places of records that wait to be tried one after another, of a large room


def _nak(delay: timedelta) -> bytes:
    return b'-NAK {"delay": %d}' % int(delay.total_seconds() * 1e9)


_SOON = _nak(timedelta(seconds=0.25))  # not to us again, if our request still stands
_LATER = _nak(timedelta(seconds=30))  # for a newer process to take
_AFTER_OTHERS = _nak(timedelta(seconds=10))  # when fewer suspects wait


class JetStreamConsumer:
    """Implements interface.RecordConsumer."""

    def __init__(self, tools: ConsumerContext, *, pool: str, room: int, room_bytes: int) -> None:
        self._tools = tools
        self._pool = pool
        self._room = Room(room, room_bytes)
        self._hand: InFlight[JetStreamLeasedRecord] = InFlight(places=room)
        self._come: dict[TrafficClass, deque[JetStreamLeasedRecord]] = {
            traffic_class: deque() for traffic_class in TrafficClass
        }
        self._wake = asyncio.Event()
        self._started = self._stopped = self._refilling = False
        self._tasks = BackgroundTasks(INTERNAL_ERRORS)
        self._handed: set[Key] = set()
        self._leaving: list[Callable[[str], None]] = []
        self._count_left_open: Callable[[], Mapping[str, int]] = dict
        self._open_elsewhere = OpenElsewhere(tools.membership)
        self._succession = Succession(tools.requests)
        self._settling = Settling(
            self._hand,
            requests=tools.requests,
            publisher=tools.publisher,
            blobs=tools.blobs,
            body_ends=tools.body_ends,
            events=tools.events,
            succession=self._succession,
            only_unacknowledged=self._make_room,
            exhausted=lambda: tools.capacity.exhausted,
        )
        self._forms = Forms(self._hand, self._succession)
        # What was in a dead process's hands comes again when its lease has run out, and who has
        # left a lane ends what it has under way. What waits for either must not wait here: it would
        # keep the room that the other needs.
        self._wait_for_former = _nak(tools.timings.ack_wait / 2)
        self._leases = Leases(
            self._hand,
            link=tools.link,
            requests=tools.requests,
            membership=tools.membership,
            timings=tools.timings,
        )
        self._puller = Puller(
            tools.link,
            tools.requests,
            ack_wait=tools.timings.ack_wait,
            room=self._room_for,
            deliver=self._on_delivered,
        )
        self._trials = self._make_trials()
        self._returned = Returned(tools.presence, self._hand, tools.link)
        self._held: list[Callable[[str], None]] = []
        self._lane_ownership = LaneOwnership(
            tools.presence,
            tools.membership,
            tools.layout,
            take=self._take_lane,
            leave=self._leave_lane,
            in_flight=self._in_flight,
            left_open=lambda: tuple(sorted(self._count_left_open().items())),
        )
        self._lane_ownership.know_pools([pool])
        self._unserved = Unserved(tools.waiting, tools.membership, every=tools.timings.pools)

    def _make_trials(self) -> Trials:
        return Trials(
            self._tools.presence,
            most=max(1, min(_SUSPECTS, self._room.places // 4)),
            alone=self._tools.timings.alone,
            gathering=self._tools.timings.suspects,
            hand_out=self._release,
            hold=lambda leased: self._tasks.spawn(self._hold(leased, POISONOUS)),
            put_off=lambda leased: self._tasks.spawn(self._return(leased, _AFTER_OTHERS)),
        )

    # ------------------------------------------------------------ taking

    async def __aiter__(self) -> AsyncIterator[LeasedRecord]:
        await self._start()
        while True:
            while (leased := self._next()) is not None:
                yield leased
            if self._stopped:
                return
            self._wake.clear()
            await self._wake.wait()

    async def _start(self) -> None:
        if self._started:
            return
        self._started = True
        await self._puller.start()
        await self._tools.membership.set_taking(True)
        await self._tools.membership.look()
        await self._lane_ownership.adjust()
        await self._puller.refill_all()
        self._tasks.spawn(self._leases.keep())
        self._tasks.spawn(self._trials.run())
        self._tasks.spawn(self._keep_lanes())
        self._tasks.spawn(renew_overdue(self._tools, lambda: self._lane_ownership.lanes))
        self._tasks.spawn(self._unserved.keep())

    def _next(self) -> JetStreamLeasedRecord | None:
        if self._stopped or len(self._handed) >= self._room.places:
            return None
        for come in self._come.values():  # express first
            if come:
                leased = come.popleft()
                self._handed.add(leased.key)
                return leased
        return None

    def know_pools(self, pools: Iterable[str]) -> None:
        """Also look after the lanes of these pools while they have no members of their own."""
        self._lane_ownership.know_pools(pools)

    @property
    def lanes(self) -> frozenset[str]:
        """The lanes that are this process's now, of whatever pool."""
        return self._lane_ownership.lanes

    @property
    def lanes_elsewhere(self) -> frozenset[str]:
        """All other lanes, whoever has them."""
        return self._lane_ownership.lanes_elsewhere

    def _take_lane(self, key: LaneKey) -> None:
        for shard in range(self._tools.layout.shards):
            for traffic_class in TrafficClass:
                self._puller.add(LanePull(shard, key, traffic_class))

    def on_leaving(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with each lane that is left to another process."""
        self._leaving.append(listener)

    def tell_left_open(self, count: Callable[[], Mapping[str, int]]) -> None:
        """Tell all others what `count` returns: connections in use where lanes were left."""
        self._count_left_open = count

    @property
    def open_elsewhere(self) -> Mapping[str, int]:
        """What the others tell so, in all; the same object until it changes."""
        return self._open_elsewhere.counts

    def on_held(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the reason for each record that is held instead of handed out."""
        self._held.append(listener)

    def serves(self, leased: LeasedRecord) -> bool:
        """Whether a record's lane has not been left since, nor all of them."""
        return not self._stopped and self._puller.serves(_own(leased).lane_key)

    async def _leave_lane(self, key: LaneKey) -> None:
        await self._puller.remove(key)
        for come in self._come.values():
            for leased in [each for each in come if each.lane_key == key]:
                come.remove(leased)
                self._tasks.spawn(self.give_back(leased))
        for leased in self._trials.withdraw(key):
            self._tasks.spawn(self.give_back(leased))
        for listener in self._leaving:
            listener(key.lane)

    def _room_for(self, pull: LanePull) -> int:
        if not self._tools.membership.alive():
            return 0
        lines = {each: self._hand.of_line((pull.key, each)) for each in TrafficClass}
        return self._room.left_for(
            pull.traffic_class,
            free=self._hand.room,
            lane=sum(lines.values()) + self._puller.coming(pull.key),
            has_none=not (pull.asked or lines[pull.traffic_class]),
        )

    def _in_flight(self, key: LaneKey) -> int:
        return sum(1 for entry in self._hand.all() if entry.leased.lane_key == key)

    def _on_delivered(self, delivered: Delivered) -> None:
        # It may have lain in a buffer while this process stood still, and its lease ran all along.
        sent = min(asyncio.get_running_loop().time(), self._tools.membership.confirmed)
        key = Key(delivered.shard, delivered.sequence)
        reply = delivered.message.reply
        arrival = self._hand.arrive(key, reply, sent)
        if arrival is Arrival.FINISHED:
            self._tasks.spawn(self._say(reply, b"+ACK"))
        if arrival is not Arrival.NEW:
            return
        if self._stopped:
            self._tasks.spawn(self._say(reply, b"-NAK"))
            return
        if not self._puller.serves(delivered.pull.key):
            # Its lane is another's by now, limits and all.
            self._tasks.spawn(self._say(reply, _SOON))
            return
        record = record_of(delivered)
        if record.needs - KNOWN_FEATURES:
            self._tasks.spawn(self._say(reply, _LATER))
            return
        pull, places = delivered.pull, self._room.taken_by(len(delivered.message.data))
        leased = JetStreamLeasedRecord(record, key, pull.key, delivered.deliveries, places)
        line = (pull.key, pull.traffic_class)
        self._hand.add(Entry(key, reply, places, sent, leased, line))
        others = delivered.waited and (not self._forms.begin(key, record) or delivered.replaces > 0)
        if others or delivered.again or delivered.follows:
            self._tasks.spawn(self._look_first(leased, delivered))
        else:
            self._line_up(leased)

    def _line_up(self, leased: JetStreamLeasedRecord) -> None:
        """Let a record be handed out: at once, in its turn, or not at all."""
        if is_unreadable(leased.record):
            self._tasks.spawn(self._hold(leased, UNREADABLE))
        elif self._is_suspect(leased):
            self._tasks.spawn(self._suspect(leased))
        else:
            self._come[leased.record.traffic_class].append(leased)
            self._wake.set()

    def _is_suspect(self, leased: JetStreamLeasedRecord) -> bool:
        return is_suspect(leased.record, leased.deliveries - self._hand.returns(leased.key))

    async def _suspect(self, leased: JetStreamLeasedRecord) -> None:
        """Let a record be tried apart, unless it was only handed back so often, by others too."""
        await self._returned.look(leased.key)
        if not self.serves(leased):
            await self.give_back(leased)
        elif self._is_suspect(leased):
            self._trials.add(leased)
        else:
            self._line_up(leased)

    def _release(self, leased: JetStreamLeasedRecord) -> None:
        """Let a suspect be handed out next, whose turn it is."""
        if self.serves(leased):
            self._come[leased.record.traffic_class].appendleft(leased)
            self._wake.set()
        else:
            self._tasks.spawn(self.give_back(leased))

    async def _look_first(self, leased: JetStreamLeasedRecord, delivered: Delivered) -> None:
        """Line a record up when that cannot be a repetition; see `publish.succession`."""
        key = leased.key
        try:
            if delivered.replaces:
                await self._succession.end_replaced(Key(key.shard, delivered.replaces))
            again, waited = delivered.again, delivered.waited
            if await self._forms.another_goes_on(key, leased.record, again=again, waited=waited):
                log.info("another form goes on", record_id=str(leased.record.record_id))
                await self._settling.pass_over(key, leased.record)
                self._let_go(key)
                return
            if delivered.forgotten and self._open_elsewhere.may_be_at(leased.record.site):
                await self._return(leased, self._wait_for_former)
                return
            former = Key(key.shard, delivered.follows)
            if delivered.follows and not await self._forms.is_gone(former):
                await self._return(leased, self._wait_for_former)
                return
        except SpoolError as error:
            log.debug("a record's forms cannot be looked for", error=str(error))
            await self._return(leased, _SOON)
            return
        if self.serves(leased):
            self._line_up(leased)
        else:
            await self.give_back(leased)

    async def _hold(self, leased: JetStreamLeasedRecord, reason: str) -> None:
        now, process = datetime.now(UTC), self._tools.membership.process
        record = leased.record
        put = put_on_hold(record, reason, now)
        log.error(
            "a record is held",
            queue_id=record.record_id.queue_id,
            record_id=str(record.record_id),
            reason=reason,
            deliveries=leased.deliveries,
        )
        for listener in self._held:
            listener(reason)
        await self.settle(leased, [put], [held_event(record, reason, now, process)])

    # ------------------------------------------------------------ leases and lanes

    def fresh(self, leased: LeasedRecord) -> bool:
        """Whether the lease was confirmed less than 12 s ago."""
        return self._leases.fresh(_own(leased).key)

    async def confirm(self, leased: LeasedRecord) -> bool:
        """Whether it is fresh, asking the queue once when it is not."""
        return await self._leases.confirm(_own(leased).key)

    async def _keep_lanes(self) -> None:
        # Apart from the leases: a stream without a leader keeps this waiting for seconds.
        while not self._stopped:
            await asyncio.sleep(_TICK)
            await self._lane_ownership.adjust()
            await self._puller.refill_all()

    # ------------------------------------------------------------ settling

    async def settle(
        self, leased: LeasedRecord, puts: Sequence[Put] = (), events: Sequence[Event] = ()
    ) -> bool:
        """
        Put what follows, then end the record, then write the events; return whether that was done.

        Where its lease is in doubt it is dropped instead, if nobody has got it by us, or another
        has ended it: who has it now may have delivered it, and a deferral of ours would bring it
        back.
        """
        own = _own(leased)

        async def is_lost() -> bool:
            if await self.confirm(leased) or not await self._may_forget(own, puts):
                return False
            record_id = str(own.record.record_id)
            log.warning("a record was dropped, its lease is in doubt", record_id=record_id)
            self.drop(leased)
            return True

        if puts and await is_lost():
            return False
        if any(put.record.record_id == own.record.record_id for put in puts):
            self._forms.leave(own.key, own.record)
        settled = await self._settling.settle(own.key, own.record, puts, events, is_lost)
        self._let_go(own.key)
        return settled

    async def _may_forget(self, own: JetStreamLeasedRecord, puts: Sequence[Put]) -> bool:
        if delivers_nothing(own.record, puts):
            return True
        try:
            return await self._succession.is_gone(own.key)
        except SpoolError:
            return False

    def finish(
        self, leased: LeasedRecord, events: Sequence[Event], ended: Callable[[], None]
    ) -> None:
        """Settle a record of which nothing follows, behind the caller's back."""
        own = _own(leased)

        def heard(well: bool) -> None:
            if well:
                self._let_go(own.key)
                ended()
            else:
                self._tasks.spawn(self._settle_then(own, events, ended))

        self._settling.finish(own.key, own.record, events, heard)

    async def _settle_then(
        self, own: JetStreamLeasedRecord, events: Sequence[Event], ended: Callable[[], None]
    ) -> None:
        await self.settle(own, (), events)
        ended()

    def _make_room(self, key: Key) -> None:
        """Let another take the place of a record of which nothing but its end is to be told."""
        self._hand.end(key)
        self._handed.discard(key)
        self._wake.set()

    def _let_go(self, key: Key) -> None:
        if self._trials.is_tried(key):
            self._tasks.spawn(self._trials.end(key))
        self._handed.discard(key)
        self._wake.set()
        if not self._refilling and not self._stopped:
            self._refilling = True
            self._tasks.spawn(self._refill())

    async def _refill(self) -> None:
        await asyncio.sleep(0)  # settles of the same moment are one refill
        self._refilling = False
        await self._puller.refill()

    async def give_back(self, leased: LeasedRecord) -> None:
        """Return a record that was not begun."""
        await self._return(_own(leased), b"-NAK")

    async def _return(self, leased: JetStreamLeasedRecord, nak: bytes) -> None:
        entry = self._hand.get(leased.key)
        if entry is None:
            return
        await self._trials.end(leased.key)
        if leased.deliveries > 1:
            await self._returned.look(leased.key)
        if self._hand.get(leased.key) is not entry:
            return  # it is handed back at the end of all, meanwhile
        self._hand.give_back(leased.key)
        await asyncio.gather(self._returned.note(leased.key), self._say(entry.reply, nak))
        self._let_go(leased.key)

    def drop(self, leased: LeasedRecord) -> None:
        """Let go of a record; it comes again when its lease has run out."""
        key = _own(leased).key
        self._hand.drop(key)
        self._let_go(key)

    async def _say(self, reply: str, what: bytes) -> None:
        try:
            await self._tools.requests.send(reply, what, timeout=ACK_TIMEOUT)
        except SpoolError as error:
            log.debug("a record's lease runs out instead", error=str(error))

    # ------------------------------------------------------------ ending

    async def stop(self) -> None:
        """Take nothing more."""
        self._stopped = True
        self._wake.set()
        await self._puller.stop()

    async def close(self) -> None:
        """Give back what is in hand and leave the lanes to the others."""
        await self.stop()
        waiting = [leased for come in self._come.values() for leased in come]
        for come in self._come.values():
            come.clear()
        remaining = {leased.key: leased for leased in waiting}
        remaining |= {entry.key: entry.leased for entry in self._hand.all()}
        await asyncio.gather(*(self.give_back(leased) for leased in remaining.values()))
        await self._tasks.cancel()
        await self._tools.membership.set_taking(False)
        await self._lane_ownership.release_all()
        await self._tools.body_ends.close()


def _own(leased: LeasedRecord) -> JetStreamLeasedRecord:
    assert isinstance(leased, JetStreamLeasedRecord), "a record of another spool"
    return leased
