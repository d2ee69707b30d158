"""
The delivery worker: takes records, and has them assigned to their sites.

A record waits there, without a task of its own, for the dispatcher. When a lane goes to another
process, or this one is drained, records that have not begun are given back.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta

from postroad.delivery import metrics
from postroad.delivery.context import WorkerContext
from postroad.delivery.dispatch.assignment import SiteAssignment
from postroad.delivery.dispatch.parking.parking import Parking
from postroad.delivery.dispatch.settler import Settler
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.lanes.owners import LaneKey
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_HOUSEKEEPING = 1.0  # seconds
# The end of a drain, in which known outcomes of interrupted attempts are stored.
_LAST_OUTCOMES = timedelta(seconds=2)


class Worker:
    """All delivery of one process."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._tasks = BackgroundTasks(metrics.INTERNAL_ERRORS)
        self._settler = Settler(context, self._tasks)
        self._parking = Parking(context, self._settler, self._tasks)
        self._assignment = SiteAssignment(context, self._settler, self._tasks, self._parking)
        self._sites = self._assignment.sites
        self._dispatcher = self._assignment.dispatcher
        self._renewal = self._assignment.renewal

    # ------------------------------------------------------------ taking

    async def run(self) -> None:
        """Take records until the consumer is stopped."""
        # Even an empty configuration: orders act on queued mail in any case.
        await self._context.configuration.wait_published()
        await self._renewal.begin(self._context.configuration.current)
        self._context.consumer.on_leaving(self._withdraw)
        self._context.consumer.tell_left_open(self._left_open)
        self._context.consumer.on_held(lambda reason: metrics.HELD.labels(reason.lower()).inc())
        self._tasks.keep(self._housekeep)
        self._tasks.keep(self._follow)
        self._tasks.keep(self._renewal.ask)
        self._tasks.keep(self._dispatcher.sharing.run)
        async for leased in self._context.consumer:
            self._settler.took()
            self._assignment.begin(leased)

    async def overdue(self) -> None:
        """Wait until others have waited too long for this process; then it must end."""
        await self._dispatcher.sharing.settled.overdue()

    def _withdraw(self, lane_key: LaneKey) -> None:
        """
        Give back a lane's records that have not begun; its next owner has limits of its own.

        All idle sessions are closed, since it is unknown which of them belong to the lane. Lanes
        rarely change their owner.
        """
        for site in self._sites:
            for waiting in site.withdraw(lambda each: each.leased.lane_key == lane_key):
                self._tasks.spawn(self._settler.give_back(waiting.leased))
        for leased in self._renewal.withdraw(lambda each: each.lane_key == lane_key):
            self._tasks.spawn(self._settler.give_back(leased))
        self._hang_up()
        self._sites.leave(lane_key)
        self._parking.leave(lane_key)

    def _hang_up(self) -> None:
        for session in self._context.attempts.pool.all():
            session.hang_up()

    def _left_open(self) -> Mapping[str, int]:
        return self._sites.left_open(self._context.attempts.pool)

    def obey(self) -> None:
        """Apply new orders to the records that have not begun."""
        for site in self._sites:
            for waiting in site.withdraw(
                lambda each: self._assignment.order(each.leased) is not None
            ):
                order = self._assignment.order(waiting.leased)
                self._tasks.spawn(
                    self._settler.unattempted(waiting.leased, waiting.egress_path, order)
                )
        for leased in self._renewal.withdraw(lambda each: self._assignment.order(each) is not None):
            self._assignment.begin_again(leased)

    # ------------------------------------------------------------ the whole

    async def _housekeep(self) -> None:
        """Every second: close expired sessions, park and recall mail, forget idle sites."""
        while True:
            await asyncio.sleep(_HOUSEKEEPING)
            for session in self._context.attempts.pool.expired(time.monotonic()):
                session.hang_up()
            self._assignment.heed_elsewhere()
            now = asyncio.get_running_loop().time()
            self._sites.count_shares(now)
            for site in self._sites:
                self._parking.park_surplus(site, now)
                self._parking.look(site)
                self._dispatcher.go_on(site, now)
            self._renewal.go_on()
            self._parking.forget(now)
            self._renewal.forget(now)
            self._sites.forget(now)
            metrics.IN_HAND.set(self._settler.in_hand)
            metrics.CONTENT.set(self._context.attempts.body_room.taken)

    async def _follow(self) -> None:
        """Apply each configuration when it comes into force."""
        while True:
            self._renewal.heed(self._context.configuration.current)
            await self._context.configuration.changed()

    async def drain(self, *, seconds: float) -> None:
        """Take no more records, finish the attempts under way, give the rest back."""
        self._dispatcher.stopping = True
        await self._context.consumer.stop()
        self._hang_up()  # before other processes begin with these sites
        unbegun = [each.leased for site in self._sites for each in site.empty()]
        unbegun += self._renewal.withdraw(lambda _: True)
        await asyncio.gather(*(self._settler.give_back(leased) for leased in unbegun))
        try:
            async with asyncio.timeout(seconds):
                await self._settler.all_ended()
        except TimeoutError:
            log.warning("deliveries under way are cut off", count=self._settler.in_hand)
        # Known outcomes are still stored, so that recipients that have the mail do not get it
        # again.
        await self._tasks.cancel(within=_LAST_OUTCOMES)
        await self._context.consumer.close()
        await self._context.attempts.pool.close()
