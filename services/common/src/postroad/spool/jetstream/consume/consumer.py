"""
Delivery's side of the queue in JetStream. Each call goes to one of the parts.

`pull` requests records, `arrivals` decides what is done with each, and `flow_control` keeps those
in hand and hands them out. `leases` makes sure that no other process has them, and `acknowledger`
ends or returns them. `lanes` follows which lanes this process owns.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.event import Event
from postroad.spool.interface import LeasedRecord, Put, Queued
from postroad.spool.jetstream.cluster.open_elsewhere import OpenElsewhere
from postroad.spool.jetstream.consume.acknowledger import Acknowledger, ConsumerRecords
from postroad.spool.jetstream.consume.arrivals import Arrivals
from postroad.spool.jetstream.consume.flow_control import FlowControl
from postroad.spool.jetstream.consume.forms import Forms
from postroad.spool.jetstream.consume.lanes import ConsumerLanes
from postroad.spool.jetstream.consume.leased import ConsumerContext, JetStreamLeasedRecord
from postroad.spool.jetstream.consume.leases import Leases
from postroad.spool.jetstream.consume.poison.returned import Returned
from postroad.spool.jetstream.consume.poison.strays import Strays
from postroad.spool.jetstream.consume.poison.trials import Trials
from postroad.spool.jetstream.consume.pull.puller import Puller
from postroad.spool.jetstream.consume.settle import Settling
from postroad.spool.jetstream.consume.sweeps.overdue import renew_overdue
from postroad.spool.jetstream.consume.sweeps.unserved import Unserved
from postroad.spool.jetstream.publish.succession import Succession
from postroad.spool.lanes.owners import LaneKey
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.spool.room import Room

_SUSPECTS = 200  # places that suspects may take of a large room


@dataclass(frozen=True, slots=True)
class ConsumerParts:
    """The classes of the parts. The simulation replaces one to check that a mistake is found."""

    flow: type[FlowControl] = FlowControl
    settling: type[Settling] = Settling
    leases: type[Leases[JetStreamLeasedRecord]] = Leases
    forms: type[Forms] = Forms
    acknowledger: type[Acknowledger] = Acknowledger
    arrivals: type[Arrivals] = Arrivals
    unserved: type[Unserved] = Unserved


class JetStreamConsumer:
    """Implements interface.RecordConsumer."""

    parts = ConsumerParts()

    def __init__(self, tools: ConsumerContext, *, pool: str, room: int, room_bytes: int) -> None:
        self._tools = tools
        self._started = False
        self._tasks = BackgroundTasks(INTERNAL_ERRORS)
        self._puller = Puller(tools.link, tools.requests, ack_wait=tools.timings.ack_wait)
        places = Room(room, room_bytes)
        self._flow = self.parts.flow(places, self._puller, tools.membership, self._tasks)
        self._trials = _trials(tools, places)
        self._open_elsewhere = OpenElsewhere(tools.membership)
        self._leases = self.parts.leases(
            self._flow.hand,
            link=tools.link,
            requests=tools.requests,
            membership=tools.membership,
            timings=tools.timings,
        )
        self._unserved = self.parts.unserved(
            tools.waiting, tools.membership, every=tools.timings.pools
        )
        self._strays = Strays(tools, every=tools.timings.pools)
        self._put_together(tools)
        self.know_pools([pool])

    def _put_together(self, tools: ConsumerContext) -> None:
        flow, succession = self._flow, Succession(tools.requests)
        records = ConsumerRecords(
            flow=flow,
            forms=self.parts.forms(flow.hand, succession),
            succession=succession,
            trials=self._trials,
            returned=Returned(tools.presence, flow.hand, tools.link),
            tasks=self._tasks,
        )
        settling = self.parts.settling(tools, flow, succession)
        self._acknowledger = self.parts.acknowledger(tools, records, settling, self._leases)
        self._arrivals = self.parts.arrivals(
            tools, records, self._acknowledger, self._open_elsewhere
        )
        self._lanes = ConsumerLanes(
            tools, flow, self._acknowledger, puller=self._puller, trials=self._trials
        )

    # ------------------------------------------------------------ taking

    async def __aiter__(self) -> AsyncIterator[LeasedRecord]:
        await self._start()
        flow = self._flow
        while True:
            while (leased := flow.next()) is not None:
                yield leased
            if flow.stopped:
                return
            await flow.changed()

    async def _start(self) -> None:
        if self._started:
            return
        self._started = True
        await self._puller.start(self._arrivals)
        await self._tools.membership.set_taking(True)
        await self._tools.membership.look()
        await self._lanes.adjust()
        self._tasks.keep(self._leases.keep)
        self._tasks.keep(lambda: self._trials.run(self._arrivals))
        self._tasks.keep(self._lanes.keep)
        self._tasks.keep(lambda: renew_overdue(self._tools, self._lanes.ownership))
        self._tasks.keep(self._unserved.keep)
        self._tasks.keep(self._strays.keep)

    # ------------------------------------------------------------ lanes

    def know_pools(self, pools: Iterable[str]) -> None:
        """Also look after the lanes of these pools while they have no members of their own."""
        self._lanes.ownership.know_pools(pools)

    @property
    def lanes(self) -> frozenset[str]:
        """The lanes that are this process's now, of whatever pool."""
        return self._lanes.ownership.lanes

    @property
    def lanes_elsewhere(self) -> frozenset[str]:
        """All other lanes, whoever has them."""
        return self._lanes.ownership.lanes_elsewhere

    def on_leaving(self, listener: Callable[[LaneKey], None]) -> None:
        """Call `listener` with each lane that is left to another process."""
        self._lanes.on_leaving(listener)

    def tell_left_open(self, count: Callable[[], Mapping[str, int]]) -> None:
        """Tell all others what `count` returns: connections in use where lanes were left."""
        self._lanes.tell_left_open(count)

    @property
    def open_elsewhere(self) -> Mapping[str, int]:
        """What the others tell so, in all; the same object until it changes."""
        return self._open_elsewhere.counts

    def on_held(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the reason for each record that is held instead of handed out."""
        self._arrivals.on_held(listener)
        self._strays.on_held(listener)

    def serves(self, leased: LeasedRecord) -> bool:
        """Whether a record's lane has not been left since, nor all of them."""
        return self._flow.serves(_own(leased).lane_key)

    # ------------------------------------------------------------ records

    def fresh(self, leased: LeasedRecord) -> bool:
        """Whether the lease was confirmed less than 12 s ago."""
        return self._leases.fresh(_own(leased).key)

    async def confirm(self, leased: LeasedRecord) -> bool:
        """Whether it is fresh, asking the queue once when it is not."""
        return await self._leases.confirm(_own(leased).key)

    async def has_ended(self, leased: LeasedRecord) -> bool:
        """Whether another process has ended the record; raises SpoolUnavailable."""
        return await self._acknowledger.has_ended(_own(leased))

    async def settle(
        self, leased: LeasedRecord, puts: Sequence[Put] = (), events: Sequence[Event] = ()
    ) -> bool:
        """Put what follows, then end the record, then write the events."""
        return await self._acknowledger.settle(_own(leased), puts, events)

    def finish(
        self, leased: LeasedRecord, events: Sequence[Event], ended: Callable[[], None]
    ) -> None:
        """Settle a record of which nothing follows, behind the caller's back."""
        self._acknowledger.finish(_own(leased), events, ended)

    async def give_back(self, leased: LeasedRecord) -> None:
        """Return a record that was not begun."""
        await self._acknowledger.give_back(_own(leased))

    def drop(self, leased: LeasedRecord) -> None:
        """Let go of a record; it comes again when its lease has run out."""
        self._acknowledger.drop(_own(leased))

    async def remove(self, queued: Queued, events: Sequence[Event]) -> None:
        """End a waiting record that nothing follows, then write the events."""
        await self._tools.waiting.remove(queued, datetime.now(UTC))
        for event in events:
            self._tools.events.add(event)
        await self._tools.body_ends.add(queued.record)

    # ------------------------------------------------------------ ending

    async def stop(self) -> None:
        """Take nothing more, and leave the lanes to others as the records in hand end."""
        self._flow.stop()
        await self._puller.stop()

    async def close(self) -> None:
        """Give back what is in hand, and leave all lanes."""
        await self.stop()
        remaining = self._flow.clear()
        await self._acknowledger.give_back_all(remaining)
        await self._tasks.cancel()
        await self._tools.membership.set_taking(False)
        await self._lanes.ownership.release_all()
        await self._puller.close()
        await self._acknowledger.close()
        await self._tools.body_ends.close()


def _trials(tools: ConsumerContext, room: Room) -> Trials:
    return Trials(
        tools.presence,
        most=max(1, min(_SUSPECTS, room.places // 4)),
        alone=tools.timings.alone,
        gathering=tools.timings.suspects,
    )


def _own(leased: LeasedRecord) -> JetStreamLeasedRecord:
    assert isinstance(leased, JetStreamLeasedRecord), "a record of another spool"
    return leased
