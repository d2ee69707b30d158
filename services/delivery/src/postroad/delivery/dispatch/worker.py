"""
The delivery worker: takes records, finds their sites, and puts them into the sites' waiting rooms.

A record waits there, without a task of its own, for the dispatcher. A record without room is
parked, one that belongs to another lane is moved there, and one that must not be attempted ends at
once.
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from postroad.delivery import metrics
from postroad.delivery.attempt.attempt import AttemptResult
from postroad.delivery.context import WorkerContext
from postroad.delivery.dispatch.dispatcher import SiteDispatcher
from postroad.delivery.dispatch.parking import Parking
from postroad.delivery.dispatch.precedence import order_for
from postroad.delivery.dispatch.renewal import EarlyRecords, Renewal
from postroad.delivery.dispatch.settler import Settler
from postroad.delivery.disposition.unattempted import (
    for_all,
    moved,
    nowhere,
)
from postroad.delivery.routing.egress_paths import EgressPaths, is_undecided
from postroad.delivery.routing.lookups import Lookups
from postroad.delivery.routing.questions.places import sender_of
from postroad.delivery.routing.routes import Route
from postroad.delivery.sharing.edits import PoolEdits
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.sites import Sites
from postroad.delivery.sites.total import SiteTotal
from postroad.delivery.sites.waiting import WaitingRecord
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import EgressPath
from postroad.policy.snapshot import Snapshot
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.agreement import Order
from postroad.spool.errors import SpoolError
from postroad.spool.interface import LeasedRecord
from postroad.spool.record import QueueRecord
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_ASKING = 4  # a quarter of all places is for mail that waits for the DNS
_HOUSEKEEPING = 1.0  # seconds
_MOST_MOVES = 3  # moves of a record between two attempts
# The end of a drain, in which known outcomes of interrupted attempts are stored.
_LAST_OUTCOMES = timedelta(seconds=2)


class Worker:
    """All delivery of one process."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._tasks = BackgroundTasks(metrics.INTERNAL_ERRORS)
        self._settler = Settler(context, self._tasks)
        self._lookups = Lookups(max(1, context.in_hand // _ASKING))
        self._parking = Parking(context, self._settler, self._tasks)
        self._dispatcher = SiteDispatcher(
            context, self._settler, self._tasks, self._lookups, self._parking, self._begin_again
        )
        self._pools = PoolEdits(context.spool, self._dispatcher.sharing)
        self._sites = Sites(context.in_hand, self._pools.share)
        self._egress_paths = EgressPaths()
        self._renewal = Renewal(self._egress_paths)
        self._early = EarlyRecords()
        self._elsewhere: Mapping[str, int] = {}
        self._heeded: Snapshot | None = None  # the configuration that is applied

    # ------------------------------------------------------------ taking

    async def run(self) -> None:
        """Take records until the consumer is stopped."""
        # Even an empty configuration: orders act on queued mail in any case.
        await self._context.configuration.wait_published()
        first = self._context.configuration.current
        await self._pools.begin(first)
        self._heed(first)
        await self._pools.tell_first()
        self._context.consumer.on_leaving(self._withdraw)
        self._context.consumer.tell_left_open(self._left_open)
        self._context.consumer.on_held(lambda reason: metrics.HELD.labels(reason.lower()).inc())
        self._tasks.keep(self._housekeep)
        self._tasks.keep(self._follow)
        self._tasks.keep(self._dispatcher.sharing.run)
        async for leased in self._context.consumer:
            self._settler.took()
            self._begin(leased)

    async def overdue(self) -> None:
        """Wait until others have waited too long for this process; then it must end."""
        await self._dispatcher.sharing.settled.overdue()

    def _withdraw(self, lane: str) -> None:
        """
        Give back a lane's records that have not begun; its next owner has limits of its own.

        All idle sessions are closed, since it is unknown which of them belong to the lane. Lanes
        rarely change their owner.
        """
        for site in self._sites:
            for waiting in site.withdraw(lambda each: each.leased.lane == lane):
                self._tasks.spawn(self._settler.give_back(waiting.leased))
        for leased in self._early.withdraw(lambda each: each.lane == lane):
            self._tasks.spawn(self._settler.give_back(leased))
        self._hang_up()
        self._sites.leave(lane)
        self._parking.leave(lane)

    def _hang_up(self) -> None:
        for session in self._context.attempts.pool.all():
            session.hang_up()

    def _left_open(self) -> Mapping[str, int]:
        return self._sites.left_open(self._context.attempts.pool)

    def _heed_elsewhere(self) -> None:
        """Apply the connections that former owners of our lanes have in use, before mail comes."""
        counts = self._context.consumer.open_elsewhere
        if counts is not self._elsewhere:
            self._elsewhere = counts
            self._sites.heed_elsewhere(counts)
            for site in self._sites:
                if site.waiting:
                    self._dispatcher.pump(site)

    def obey(self) -> None:
        """Apply new orders to the records that have not begun."""
        for site in self._sites:
            for waiting in site.withdraw(lambda each: self._order(each.leased) is not None):
                order = self._order(waiting.leased)
                self._tasks.spawn(
                    self._settler.unattempted(waiting.leased, waiting.egress_path, order)
                )
        for leased in self._early.withdraw(lambda each: self._order(each) is not None):
            self._begin_again(leased)

    def _order(self, leased: LeasedRecord) -> Order | None:
        return order_for(self._context.spool.orders.in_force(datetime.now(UTC)), leased)

    def _begin(self, leased: LeasedRecord) -> None:
        """Find the site of a record; without a task if its route is known."""
        record = leased.record
        snapshot = self._context.configuration.current
        self._heed(snapshot)
        self._heed_elsewhere()
        egress_path = self._egress_paths.of(snapshot, record)
        order = self._order(leased)
        undecided = egress_path is None and is_undecided(snapshot, record)
        if undecided and record.hold is None and order is None:
            now = asyncio.get_running_loop().time()
            sender = sender_of(record, None)
            self._settler.unread(leased, self._lookups.wait(record.traffic_class, sender, now))
            return
        if record.hold is None and order is None and self._is_early(leased, snapshot):
            return
        if egress_path is None or record.hold is not None or order is not None:
            self._parking.came(leased)
            self._tasks.spawn(self._settler.unattempted(leased, egress_path, order))
            return
        route = self._context.router.known(egress_path, record.domain)
        if isinstance(route, Route):
            self._admit(leased, egress_path, route)
        elif self._context.router.asks_nobody(egress_path, record.domain):
            self._tasks.spawn(self._look_for_route(leased, egress_path))
        else:
            self._ask_for_route(leased, egress_path)

    def _is_early(self, leased: LeasedRecord, snapshot: Snapshot | None) -> bool:
        """Whether a record waits, as it was accepted by a newer configuration than ours."""
        now = asyncio.get_running_loop().time()
        return self._early.waits(leased, snapshot.generation if snapshot is not None else 0, now)

    def _begin_again(self, leased: LeasedRecord) -> None:
        """Find the site of a record again, as if it came now."""
        if self._context.consumer.serves(leased):
            self._begin(leased)
        else:
            self._tasks.spawn(self._settler.give_back(leased))

    def _ask_for_route(self, leased: LeasedRecord, egress_path: EgressPath) -> None:
        record = leased.record
        sender = sender_of(record, egress_path)
        slow = self._context.router.is_slow(egress_path, record.domain)
        if not self._lookups.enter(record.traffic_class, sender, leased.places, slow=slow):
            self._dispatcher.ask_later(leased, egress_path, "others are before it at the DNS")
            return
        self._tasks.spawn(self._look_in_turn(leased, egress_path, slow=slow))

    async def _look_in_turn(
        self, leased: LeasedRecord, egress_path: EgressPath, *, slow: bool
    ) -> None:
        try:
            await self._look_for_route(leased, egress_path)
        finally:
            sender = sender_of(leased.record, egress_path)
            self._lookups.leave(leased.record.traffic_class, sender, leased.places, slow=slow)

    async def _look_for_route(self, leased: LeasedRecord, egress_path: EgressPath) -> None:
        record = leased.record
        route = await self._context.router.find(
            egress_path, record.domain, record.traffic_class, sender_of(record, egress_path)
        )
        if isinstance(route, Route) and egress_path.by_mx:
            await self._learn(record.domain, route.site)
        way_now = self._egress_paths.of(self._context.configuration.current, record)
        if way_now is not egress_path or self._order(leased) is not None:  # changed meanwhile
            self._begin_again(leased)
        elif isinstance(route, Route) and self._context.consumer.serves(leased):
            self._admit(leased, egress_path, route)
        elif isinstance(route, Route):
            await self._settler.give_back(leased)
        elif not route.asked:
            self._dispatcher.ask_later(leased, egress_path, route.reason)
        else:
            outcome = nowhere(route, record.domain, self._context.configuration.current)
            ended = AttemptResult(for_all(record, outcome))
            await self._settler.attempted(leased, egress_path, ended, record.site)

    async def _learn(self, domain: str, site: str) -> None:
        try:
            await self._context.spool.sites.learn(domain, site)
        except SpoolError as error:
            log.debug("a site was not learnt", domain=domain, error=str(error))

    def _admit(self, leased: LeasedRecord, egress_path: EgressPath, route: Route) -> None:
        """Put a record into its site's waiting room, or move it to that site's lane."""
        known = self._parking.came(leased)
        target = self._right_lane(leased, egress_path, route.site)
        if target is not None:
            settlement = moved(leased.record, target, self._context.settlement_context())
            self._tasks.spawn(self._settler.settle(leased, settlement))
            return
        site = self._sites.of(route.site, egress_path)
        site.lane, site.is_left = leased.lane, False
        now = asyncio.get_running_loop().time()
        self._sites.keep_count(now)
        waiting = self._renewal.waiting(leased, egress_path, self._context.configuration.current)
        if known is not None:
            waiting.since = known.since
        if site.downtime.lasts(now):
            self._parking.suspend(site, waiting, now)
        elif self._parking.has_room(site, waiting, known, now):
            site.add(waiting, now)
            self._dispatcher.pump(site)
            if leased.record.traffic_class is TrafficClass.EXPRESS and site.lines.bulk:
                self._parking.park_surplus(site, now)  # bulk mail makes way
        else:
            self._parking.park(site, waiting, now)

    def _right_lane(
        self, leased: LeasedRecord, egress_path: EgressPath, site: str
    ) -> QueueRecord | None:
        """Return the record changed for its right lane, None if it is there already."""
        record = leased.record
        snapshot = self._context.configuration.current
        generation = snapshot.generation if snapshot is not None else 0
        moves = record.lane_moves if record.generation >= generation else 0
        if moves >= _MOST_MOVES:
            return None  # no more moves: deliver it from where it is
        if record.site == site and record.pool == egress_path.pool:
            return None  # ingress knew the site, and chose its lane
        here = replace(record, site=site, pool=egress_path.pool)
        right_lane = self._context.spool.lane_of(here) == leased.lane
        # It may be a pool without processes, whose records come to `default`.
        right_pool = egress_path.pool == record.pool
        if right_lane and right_pool:
            return None
        return record.next_step(
            site=site,
            pool=egress_path.pool,
            lane_moves=moves + 1,
            generation=max(generation, record.generation),
        )

    # ------------------------------------------------------------ the whole

    async def _housekeep(self) -> None:
        """Every second: close expired sessions, park and recall mail, forget idle sites."""
        while True:
            await asyncio.sleep(_HOUSEKEEPING)
            for session in self._context.attempts.pool.expired(time.monotonic()):
                session.hang_up()
            self._heed_elsewhere()
            now = asyncio.get_running_loop().time()
            self._sites.count_shares(now)
            for site in self._sites:
                self._parking.park_surplus(site, now)
                self._parking.look(site)
                self._dispatcher.probe(site, now)
            for leased in self._early_no_more():
                self._begin_again(leased)
            self._parking.forget(now)
            self._pools.forget(now)
            self._sites.forget(now)
            metrics.IN_HAND.set(self._settler.in_hand)

    async def _follow(self) -> None:
        """Apply each configuration when it comes into force."""
        while True:
            self._heed(self._context.configuration.current)
            await self._context.configuration.changed()

    def _heed(self, snapshot: Snapshot | None) -> None:
        """Apply a configuration to all mail, also to records that wait at a site."""
        if snapshot is self._heeded:
            return
        meeting: Collection[SiteTotal[Site]] = ()
        if snapshot is not None:
            egress_paths = [relay.egress_path for relay in snapshot.relays.values()]
            self._context.consumer.know_pools({path.pool for path in egress_paths})
            meeting = self._pools.heed(snapshot, self._sites)
            self._sites.renew({path.name: path.limits for path in egress_paths})
        leaving: list[WaitingRecord] = []
        for site in self._sites:
            if site.waiting:
                leaving += self._renewal.leave(site, snapshot)
                if (first := site.first()) is not None:
                    self._sites.go_on(site, first.egress_path)
                self._dispatcher.pump(site)  # a limit may have been raised
        for total in meeting:
            self._dispatcher.resume(total)  # some of its mail may have gone to another pool
        self._dispatcher.windows.look_again()
        self._heeded = snapshot
        for leased in [waiting.leased for waiting in leaving] + self._early_no_more():
            self._begin_again(leased)

    def _early_no_more(self) -> list[LeasedRecord]:
        snapshot, now = self._heeded, asyncio.get_running_loop().time()
        return self._early.due(snapshot.generation if snapshot is not None else 0, now)

    async def drain(self, *, seconds: float) -> None:
        """Take no more records, finish the attempts under way, give the rest back."""
        self._dispatcher.stopping = True
        await self._context.consumer.stop()
        self._hang_up()  # before other processes begin with these sites
        unbegun = [each.leased for site in self._sites for each in site.empty()]
        unbegun += self._early.withdraw(lambda _: True)
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
