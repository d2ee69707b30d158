"""
Flow control: the records in hand, their order, and how many more a process may request.

Transactional records are handed out first. A lane with a backlog gets half of the places; the rest
is for the other lanes. Large records take several places (`spool.room`). When a record is released,
its places are free, and more records are requested.
"""

import asyncio
from collections import deque

from postroad.mail.traffic import TrafficClass
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.jetstream.cluster.sessions.membership import Membership
from postroad.spool.jetstream.consume.leased import JetStreamLeasedRecord
from postroad.spool.jetstream.consume.pull.lane_pull import LINES, LanePull
from postroad.spool.jetstream.consume.pull.puller import Puller
from postroad.spool.jetstream.in_flight import InFlight
from postroad.spool.lanes.keys import Key
from postroad.spool.lanes.owners import LaneKey
from postroad.spool.room import Room


class FlowControl:
    """The records of one consumer, from their arrival to their release."""

    def __init__(
        self, room: Room, puller: Puller, membership: Membership, tasks: BackgroundTasks
    ) -> None:
        self.room = room
        self.hand: InFlight[JetStreamLeasedRecord] = InFlight(places=room.places)
        self.stopped = False
        self._puller = puller
        self._membership = membership
        self._tasks = tasks
        self._come: dict[TrafficClass, deque[JetStreamLeasedRecord]] = {
            traffic_class: deque() for traffic_class in TrafficClass
        }
        self._handed: set[Key] = set()
        self._wake = asyncio.Event()
        self._refilling = False

    # ------------------------------------------------------------ coming

    def room_for(self, pull: LanePull) -> int:
        """Return how many more records of a lane and class may be requested."""
        if not self._membership.alive():
            return 0
        lines = {each: self.hand.of_line((pull.key, each)) for each in LINES}
        return self.room.left_for(
            pull.traffic_class,
            free=self.hand.room,
            lane=sum(lines.values()) + self._puller.coming(pull.key),
            has_none=not (pull.asked or lines[pull.traffic_class]),
        )

    def line_up(self, leased: JetStreamLeasedRecord) -> None:
        """Queue a record for delivery."""
        self._come[leased.record.traffic_class].append(leased)
        self._wake.set()

    def line_up_first(self, leased: JetStreamLeasedRecord) -> None:
        """Queue a record for delivery, before all others of its class."""
        self._come[leased.record.traffic_class].appendleft(leased)
        self._wake.set()

    # ------------------------------------------------------------ handing out

    def next(self) -> JetStreamLeasedRecord | None:
        """Return the next record for delivery, None if there is none or no place for it."""
        if self.stopped or len(self._handed) >= self.room.places:
            return None
        for come in self._come.values():  # transactional first
            if come:
                leased = come.popleft()
                self._handed.add(leased.key)
                return leased
        return None

    async def changed(self) -> None:
        """Wait until `next` may return something else."""
        self._wake.clear()
        await self._wake.wait()

    # ------------------------------------------------------------ letting go

    def vacate(self, key: Key) -> None:
        """Free the places of a record that only has to be acknowledged."""
        self.hand.end(key)
        self._handed.discard(key)
        self._wake.set()

    def let_go(self, key: Key) -> None:
        """Release a record that is no longer in hand, and request more."""
        self._handed.discard(key)
        self._wake.set()
        if not self._refilling and not self.stopped:
            self._refilling = True
            self._tasks.spawn(self._refill())

    async def _refill(self) -> None:
        await asyncio.sleep(0)  # settles of the same moment are one refill
        self._refilling = False
        await self._puller.refill()

    # ------------------------------------------------------------ lanes

    def serves(self, lane: LaneKey) -> bool:
        """Whether this process still takes records of a lane."""
        return not self.stopped and self._puller.serves(lane)

    def in_flight(self, lane: LaneKey) -> int:
        """Return how many records of a lane are in hand."""
        return sum(1 for entry in self.hand.all() if entry.leased.lane_key == lane)

    def withdraw(self, lane: LaneKey) -> list[JetStreamLeasedRecord]:
        """Take out the records of a lane that wait for delivery, and return them."""
        found = []
        for come in self._come.values():
            of_lane = [leased for leased in come if leased.lane_key == lane]
            for leased in of_lane:
                come.remove(leased)
            found += of_lane
        return found

    def stop(self) -> None:
        """Hand out no more records, and request no more."""
        self.stopped = True
        self._wake.set()

    def clear(self) -> list[JetStreamLeasedRecord]:
        """Return all records, waiting or in hand; none of them waits any longer."""
        remaining = {leased.key: leased for come in self._come.values() for leased in come}
        for come in self._come.values():
            come.clear()
        remaining |= {entry.key: entry.leased for entry in self.hand.all()}
        return list(remaining.values())
