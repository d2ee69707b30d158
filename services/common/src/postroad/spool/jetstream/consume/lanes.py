"""
The lanes of one consumer: takes the mail of a new lane, and returns the mail of a lost one.

`spool.jetstream.cluster.lane_ownership` decides which lanes these are.
"""

import asyncio
from collections.abc import Callable, Mapping

from postroad.spool.jetstream.cluster.lane_ownership import LaneOwnership
from postroad.spool.jetstream.consume.acknowledger import Acknowledger
from postroad.spool.jetstream.consume.flow_control import FlowControl
from postroad.spool.jetstream.consume.leased import ConsumerContext
from postroad.spool.jetstream.consume.poison.trials import Trials
from postroad.spool.jetstream.consume.pull.lane_pull import LINES, LanePull
from postroad.spool.jetstream.consume.pull.puller import Puller
from postroad.spool.lanes.owners import LaneKey

_TICK = 0.5  # seconds between looks at lanes


class ConsumerLanes:
    """Implements cluster.lane_ownership.RebalanceListener."""

    def __init__(
        self,
        tools: ConsumerContext,
        flow: FlowControl,
        acknowledger: Acknowledger,
        *,
        puller: Puller,
        trials: Trials,
    ) -> None:
        self.ownership = LaneOwnership(tools.presence, tools.membership, tools.layout, self)
        self._membership = tools.membership
        self._shards = tools.layout.shards
        self._flow = flow
        self._acknowledger = acknowledger
        self._puller = puller
        self._trials = trials
        self._leaving: list[Callable[[LaneKey], None]] = []
        self._count_left_open: Callable[[], Mapping[str, int]] = dict

    def on_leaving(self, listener: Callable[[LaneKey], None]) -> None:
        """Call `listener` with each lane that is left to another process."""
        self._leaving.append(listener)

    def tell_left_open(self, count: Callable[[], Mapping[str, int]]) -> None:
        """Tell all others what `count` returns: connections in use where lanes were left."""
        self._count_left_open = count

    async def adjust(self) -> None:
        """Take and leave lanes, and request records wherever there is room."""
        await self.ownership.adjust()
        self._puller.heed_restart(self._membership.restarted)
        await self._puller.refill_all()

    async def keep(self) -> None:
        """
        Adjust again and again.

        When the consumer stops, leave the lanes to others as the records in hand end: new mail does
        not wait for the last of them.
        """
        # Not in the task that extends leases: a stream without a leader delays this for seconds.
        await asyncio.sleep(_TICK)
        while not self._flow.stopped:
            await self.adjust()
            await asyncio.sleep(_TICK)
        await self._membership.set_taking(False)
        while self.ownership.lanes:
            await self.ownership.adjust()
            await asyncio.sleep(_TICK)

    # ------------------------------------------------------------ RebalanceListener

    def on_assigned(self, key: LaneKey) -> None:
        """Take a lane's mail from now on."""
        passing = not self.ownership.is_planned(key.pool)
        for shard in range(self._shards):
            for line in LINES:
                self._puller.add(LanePull(shard, key, line, passing=passing))

    async def on_revoked(self, key: LaneKey) -> None:
        """Return the waiting records of a lane, and tell those who have its other records."""
        await self._puller.remove(key)
        waiting = [*self._flow.withdraw(key), *self._trials.withdraw(key)]
        self._acknowledger.give_back_all_soon(waiting)
        for listener in self._leaving:
            listener(key)

    def in_flight(self, key: LaneKey) -> int:
        """Return how many records of a lane are in hand."""
        return self._flow.in_flight(key)

    def left_open(self) -> tuple[tuple[str, int], ...]:
        """Return the connections in use where lanes were left."""
        return tuple(sorted(self._count_left_open().items()))
