"""Consumers with a mistake about packs, which the simulation has to find."""

from collections.abc import Sequence
from datetime import datetime

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.jetstream.cluster.sessions.membership import Membership
from postroad.spool.jetstream.consume.consumer import ConsumerParts
from postroad.spool.jetstream.consume.flow_control import FlowControl
from postroad.spool.jetstream.consume.leased import JetStreamLeasedRecord
from postroad.spool.jetstream.consume.pull.puller import Puller
from postroad.spool.jetstream.in_flight import InFlight
from postroad.spool.lanes.keys import Key
from postroad.spool.record import QueueRecord
from postroad.spool.room import Room
from postroad_harness.simulation.packs.history import EndedBefore
from postroad_harness.simulation.spool import WatchedConsumer


class _AcknowledgesAtOnce(InFlight[JetStreamLeasedRecord]):
    def is_last(self, key: Key) -> bool:
        super().is_last(key)
        return True


class _FlowOfHasty(FlowControl):
    def __init__(
        self, room: Room, puller: Puller, membership: Membership, tasks: BackgroundTasks
    ) -> None:
        super().__init__(room, puller, membership, tasks)
        self.hand = _AcknowledgesAtOnce(places=room.places)


class OneEndsItsPack(WatchedConsumer):
    """Acknowledges a pack when its first record has ended: a crash loses the others."""

    parts = ConsumerParts(flow=_FlowOfHasty)


class _CountsWhatIsInHand(InFlight[JetStreamLeasedRecord]):
    def drop(self, key: Key) -> None:
        entry = self.get(key)
        if entry is not None and len(entry.lease.left) > 1:
            entry.lease.left.discard(key.part)
        super().drop(key)


class _FlowOfForgetful(FlowControl):
    def __init__(
        self, room: Room, puller: Puller, membership: Membership, tasks: BackgroundTasks
    ) -> None:
        super().__init__(room, puller, membership, tasks)
        self.hand = _CountsWhatIsInHand(places=room.places)


class ForgetsWhatItDropped(WatchedConsumer):
    """Acknowledges a pack when none of it is in hand any more: what was dropped is lost."""

    parts = ConsumerParts(flow=_FlowOfForgetful)


class _NoHistory(EndedBefore):
    async def left_of(
        self, records: Sequence[QueueRecord], stored: datetime
    ) -> list[QueueRecord | None]:
        await super().left_of(records, stored)
        return list(records)


class ReadsNoHistory(WatchedConsumer):
    """Begins a pack that comes again as if nothing of it had ended."""

    history = _NoHistory
