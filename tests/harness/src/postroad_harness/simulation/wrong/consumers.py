"""
Consumers that break a promise on purpose, to show that the simulation finds such mistakes.

Each has one plausible mistake. The test says within how many seeds it must be found.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from postroad.spool.agreement import SiteKind, SiteView
from postroad.spool.errors import PublishRefused, SpoolError, SpoolUnavailable
from postroad.spool.event import Event
from postroad.spool.interface import LeasedRecord, Put
from postroad.spool.jetstream.cluster.sessions.takers import Takers
from postroad.spool.jetstream.cluster.site_records import JetStreamSiteRecords
from postroad.spool.jetstream.consume.acknowledger import Acknowledger
from postroad.spool.jetstream.consume.arrivals import Arrivals
from postroad.spool.jetstream.consume.consumer import ConsumerParts
from postroad.spool.jetstream.consume.flow_control import FlowControl
from postroad.spool.jetstream.consume.forms import Forms
from postroad.spool.jetstream.consume.leased import ConsumerContext, JetStreamLeasedRecord
from postroad.spool.jetstream.consume.leases import Leases
from postroad.spool.jetstream.consume.pull.delivered import Delivered
from postroad.spool.jetstream.consume.settle import ACK_TIMEOUT, Settling
from postroad.spool.jetstream.consume.sweeps.unserved import Unserved
from postroad.spool.jetstream.in_flight import LeasedMessage
from postroad.spool.jetstream.publish.publisher import Publisher
from postroad.spool.lanes.keys import Key
from postroad.spool.lanes.owners import LaneKey
from postroad.spool.record import QueueRecord
from postroad_harness.simulation.spool import WatchedConsumer


class _AcknowledgesFirst(Settling):
    async def settle(
        self,
        key: Key,
        record: QueueRecord,
        puts: Sequence[Put],
        events: Sequence[Event],
        is_lost: Callable[[], Awaitable[bool]],
    ) -> bool:
        await self._acknowledge(key, record)
        if puts:
            await self._put(key, record, puts, is_lost, gives_back=False)
        self._hand.finish(key)
        for event in events:
            self._events.add(event)
        return True


class _Leaving(Settling):
    async def _is_removed(self, key: Key, record: QueueRecord) -> bool:
        return False


class AcknowledgesFirst(WatchedConsumer):
    """Settles in the wrong order: a crash between the two steps loses the record's successor."""

    parts = ConsumerParts(settling=_AcknowledgesFirst)


class LeavesWhatIsSettled(WatchedConsumer):
    """Acknowledges to a consumer that the servers have forgotten, and does not check the result."""

    parts = ConsumerParts(settling=_Leaving)


class _Credulous(Leases[JetStreamLeasedRecord]):
    async def _extend(self, lease: LeasedMessage) -> None:
        sent = asyncio.get_running_loop().time()
        try:
            await self._requests.send(lease.reply, b"+WPI", timeout=ACK_TIMEOUT)
        except SpoolError:
            return
        self._hand.confirm(lease.key, sent)


class BelievesEveryAnswer(WatchedConsumer):
    """Takes any answer to an extension for a valid lease, even if the lease has long expired."""

    parts = ConsumerParts(leases=_Credulous)


class _Careless(Leases[JetStreamLeasedRecord]):
    def fresh(self, key: Key) -> bool:
        super().fresh(key)
        return True


class ForgetsLeases(WatchedConsumer):
    """Does not check its lease before it sends: a paused process repeats mail of another."""

    parts = ConsumerParts(leases=_Careless)


class KeepsWhatItLeft(WatchedConsumer):
    """Goes on with records of a lane that another process owns now, under its own limits."""

    def on_leaving(self, listener: Callable[[LaneKey], None]) -> None:
        """Tell nobody."""

    def serves(self, leased: LeasedRecord) -> bool:
        """Say yes to all that is in hand."""
        return not self._flow.stopped


class LeavesWithoutAWord(WatchedConsumer):
    """Does not tell a lane's next owner how many connections are still in use."""

    def tell_left_open(self, count: Callable[[], Mapping[str, int]]) -> None:
        """Never ask."""


class _Jammed(FlowControl):
    def vacate(self, key: Key) -> None:
        """Keep its place."""

    def let_go(self, key: Key) -> None:
        self._handed.discard(key)


class MakesNoRoom(WatchedConsumer):
    """Never frees the places of ended records: in the end it asks for no new ones."""

    parts = ConsumerParts(flow=_Jammed)


class _Trusting(Arrivals):
    def deliver(self, delivered: Delivered) -> None:
        super().deliver(delivered)
        lease = self._hand.lease(delivered.key)
        if lease is not None:
            lease.confirmed = asyncio.get_running_loop().time()


class TrustsArrival(WatchedConsumer):
    """Counts a lease from the moment it reads a record, however long that was in a buffer."""

    parts = ConsumerParts(arrivals=_Trusting)


class _Regardless(Acknowledger):
    async def _is_lost(self, leased: JetStreamLeasedRecord, puts: Sequence[Put]) -> bool:
        return False


class SettlesRegardless(WatchedConsumer):
    """Stores a deferral under an expired lease, and so repeats mail that another has delivered."""

    parts = ConsumerParts(acknowledger=_Regardless)


class SettlesAtTheEnd(WatchedConsumer):
    """Stores no result of mail to many recipients until all of them have been tried."""

    long_enough = timedelta(days=1)


class ForgetsWhatIsKnown(WatchedConsumer):
    """Stores a record with all recipients again, also those that have the mail already."""

    async def settle(
        self, leased: LeasedRecord, puts: Sequence[Put] = (), events: Sequence[Event] = ()
    ) -> bool:
        """Put the record as it was in the place of what follows of it."""
        former = leased.record
        puts = [
            replace(put, record=replace(put.record, recipients=former.recipients, resume_from=0))
            if put.record.resume_from
            else put
            for put in puts
        ]
        return await super().settle(leased, puts, events)


class _Alone(JetStreamSiteRecords):
    async def change(
        self,
        kind: SiteKind,
        name: str,
        decide: Callable[[SiteView], bytes],
        *,
        lifetime: timedelta,
    ) -> None:
        def alone(view: SiteView) -> bytes:
            return decide(replace(view, record=b""))

        await super().change(kind, name, alone, lifetime=lifetime)


class SeesNoOthers(WatchedConsumer):
    """Uses a site's whole limit, although other processes have claimed portions of it."""

    site_records = _Alone


class _NoDoubts(set[LaneKey]):
    def add(self, _: LaneKey) -> None:
        pass


class OrphansLanes(WatchedConsumer):
    """Assumes that an unanswered write of a lane's owner was not stored."""

    def __init__(self, tools: ConsumerContext, *, pool: str, room: int, room_bytes: int) -> None:
        super().__init__(tools, pool=pool, room=room, room_bytes=room_bytes)
        self._lanes.ownership._in_doubt = _NoDoubts()


class NotesInMemory(WatchedConsumer):
    """Stores the list of consumers in memory, where it is lost together with the sessions."""

    def __init__(self, tools: ConsumerContext, *, pool: str, room: int, room_bytes: int) -> None:
        in_memory = Takers(tools.presence, tools.presence)
        tools.membership._own._takers = tools.membership._all._takers = in_memory
        super().__init__(tools, pool=pool, room=room, room_bytes=room_bytes)


class _Incurious(Arrivals):
    async def _look_first(self, leased: JetStreamLeasedRecord, delivered: Delivered) -> None:
        self._line_up(leased)


class AsksForNoLaterForm(WatchedConsumer):
    """Attempts a record of a killed process although its successor is stored already."""

    parts = ConsumerParts(arrivals=_Incurious)


class _Forgetful(Forms):
    def begin(self, key: Key, record: QueueRecord) -> bool:
        super().begin(key, record)
        return True

    async def is_passed(self, key: Key, record: QueueRecord) -> bool:
        """Say no."""
        return False


class TakesWhatFiresAgainForNew(WatchedConsumer):
    """Delivers a record again whose schedule fired twice because the servers were killed."""

    parts = ConsumerParts(forms=_Forgetful)


class _Hasty(Arrivals):
    async def _look_first(self, leased: JetStreamLeasedRecord, delivered: Delivered) -> None:
        if delivered.again:
            await super()._look_first(leased, delivered)
        else:
            self._line_up(leased)


class BeginsBeforeTheFormerIsGone(WatchedConsumer):
    """Delivers a successor while the record before it may still come again."""

    parts = ConsumerParts(arrivals=_Hasty)


class _Blind(Unserved):
    async def keep(self) -> None:
        """Look for nothing."""


class _Sure(Publisher):
    async def accept(self, puts: Sequence[Put], *, shard: int, timeout: timedelta) -> int:
        try:
            return await super().accept(puts, shard=shard, timeout=timeout)
        except SpoolUnavailable as error:
            raise PublishRefused(str(error)) from error


class RefundsWhatIsInDoubt(WatchedConsumer):
    """Refunds the quota of a message without an answer, although it may be stored."""

    publisher = _Sure


class _Forgetting(Publisher):
    async def claim(
        self,
        puts: Sequence[Put],
        claim: Mapping[str, str],
        *,
        timeout: timedelta,
        origin: Key,
        former: Key | None,
    ) -> bool:
        return await super().claim(puts, claim, timeout=timeout, origin=origin, former=None)


class ForgetsTheFormerByOrder(WatchedConsumer):
    """Omits, when an order makes a deferral ready, which record in hand it follows."""

    publisher = _Forgetting


class KnowsNamedPoolsAlone(WatchedConsumer):
    """Takes mail only from pools that Relays name, and leaves the mail of other pools."""

    parts = ConsumerParts(unserved=_Blind)
