"""
Finds the site of each record, and puts it into the site's waiting room.

A record whose route is not known waits for the DNS meanwhile. One that belongs to another lane is
moved there, and one that must not be attempted ends at once.

A record that cannot be tried now is put off, which is no attempt. There are three ways, by what it
waits for. For a newer configuration, it waits in memory for a moment (`renewal.EarlyRecords`). For
the DNS, or for a person to mend an object, it goes back to the queue, and comes back at a limited
rate (`routing.lookups`). For room at its site it goes back, too, but is remembered, and recalled
when there is room (`parking`).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from postroad.delivery.attempt.attempt import AttemptResult
from postroad.delivery.context import WorkerContext
from postroad.delivery.dispatch.dispatcher import SiteDispatcher
from postroad.delivery.dispatch.parking.parking import Parking
from postroad.delivery.dispatch.precedence import order_for
from postroad.delivery.dispatch.renewal import Renewal
from postroad.delivery.dispatch.settler import Settler
from postroad.delivery.disposition.settlement import Settlement
from postroad.delivery.disposition.unattempted import ends_in_part, for_all, moved, nowhere
from postroad.delivery.routing.egress_paths import EgressPaths, is_undecided
from postroad.delivery.routing.lookups import Lookups
from postroad.delivery.routing.questions.places import sender_of
from postroad.delivery.routing.routes import Route
from postroad.delivery.sharing.edits import PoolEdits
from postroad.delivery.sites.sites import Sites
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import EgressPath
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.agreement import Order
from postroad.spool.errors import SpoolError
from postroad.spool.interface import LeasedRecord
from postroad.spool.puts.accepted import moved as where_it_waits
from postroad.spool.record import QueueRecord
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_ASKING = 4  # a quarter of all places is for mail that waits for the DNS
_MOST_MOVES = 3  # moves of a record between two attempts


class SiteAssignment:
    """
    Assigns the records of a process to their sites.

    `dispatcher` has the connections to the `sites`, and `renewal` applies edits to them.
    """

    def __init__(
        self,
        context: WorkerContext,
        settler: Settler,
        tasks: BackgroundTasks,
        parking: Parking,
    ) -> None:
        self._context = context
        self._settler = settler
        self._tasks = tasks
        self._parking = parking
        self._lookups = Lookups(max(1, context.in_hand // _ASKING))
        self._egress_paths = EgressPaths()
        self._elsewhere: Mapping[str, int] = {}
        self.dispatcher = SiteDispatcher(context, settler, tasks, parking, self)
        pools = PoolEdits(context.spool, self.dispatcher.sharing)
        self.sites = Sites(context.in_hand, pools.share)
        self.renewal = Renewal(
            context,
            self.sites,
            pools,
            self.dispatcher,
            self._egress_paths,
            self.begin_again,
        )

    def begin(self, leased: LeasedRecord) -> None:
        """Find the site of a record; without a task if its route is known."""
        record = leased.record
        snapshot = self._context.configuration.current
        self.renewal.heed(snapshot)
        self.heed_elsewhere()
        egress_path = self._egress_paths.of(snapshot, record)
        order = self.order(leased)
        if record.waits_until is not None and self._is_coming(leased, order):
            return
        undecided = egress_path is None and is_undecided(snapshot, record)
        if undecided and record.hold is None and order is None:
            self._settler.unread(leased, self._wait(record, None))
            return
        if record.hold is None and order is None and self.renewal.waits(leased):
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

    def _is_coming(self, leased: LeasedRecord, order: Order | None) -> bool:
        """Delete new mail that has to wait, or let it wait; False if its time has come."""
        record = leased.record
        waits = where_it_waits(record, datetime.now(UTC))
        if waits is None:
            return False
        if order is not None and order.action == "delete" and not ends_in_part(record, order):
            self._tasks.spawn(self._settler.unattempted(leased, None, order))
        else:
            self._tasks.spawn(self._settler.settle(leased, Settlement((waits,), ())))
        return True

    def begin_again(self, leased: LeasedRecord) -> None:
        """Find the site of a record again, as if it came now."""
        if self._context.consumer.serves(leased):
            self.begin(leased)
        else:
            self._tasks.spawn(self._settler.give_back(leased))

    def heed_elsewhere(self) -> None:
        """Apply the connections that former owners of our lanes have in use, before mail comes."""
        counts = self._context.consumer.open_elsewhere
        if counts is not self._elsewhere:
            self._elsewhere = counts
            self.sites.heed_elsewhere(counts)
            for site in self.sites:
                if site.waiting:
                    self.dispatcher.pump(site)

    def order(self, leased: LeasedRecord) -> Order | None:
        """Return the order that a record follows now, None when there is none."""
        return order_for(self._context.spool.orders.in_force(datetime.now(UTC)), leased)

    def _ask_for_route(self, leased: LeasedRecord, egress_path: EgressPath) -> None:
        record = leased.record
        sender = sender_of(record, egress_path)
        slow = self._context.router.is_slow(egress_path, record.domain)
        if not self._lookups.enter(record.traffic_class, sender, leased.places, slow=slow):
            self.ask_later(leased, egress_path, "others are before it at the DNS")
            return
        self._tasks.spawn(self._look_in_turn(leased, egress_path, slow=slow))

    def ask_later(self, leased: LeasedRecord, egress_path: EgressPath, reason: str) -> None:
        """Put off a record whose destination cannot be looked up now; this is no attempt."""
        record = leased.record
        wait = self._wait(record, egress_path)
        self._settler.put_off(leased, egress_path, record.site, wait, reason)

    def _wait(self, record: QueueRecord, egress_path: EgressPath | None) -> float:
        """Return for how many seconds to put off a record that cannot be assigned to a site."""
        sender, now = sender_of(record, egress_path), asyncio.get_running_loop().time()
        return self._lookups.wait(record.traffic_class, sender, now)

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
        if way_now is not egress_path or self.order(leased) is not None:  # changed meanwhile
            self.begin_again(leased)
        elif isinstance(route, Route) and self._context.consumer.serves(leased):
            self._admit(leased, egress_path, route)
        elif isinstance(route, Route):
            await self._settler.give_back(leased)
        elif not route.asked:
            self.ask_later(leased, egress_path, route.reason)
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
        site = self.sites.of(route.site, egress_path)
        site.lane, site.is_left = leased.lane, False
        now = asyncio.get_running_loop().time()
        self.sites.keep_count(now)
        waiting = self.renewal.waiting(leased, egress_path, self._context.configuration.current)
        if known is not None:
            waiting.since = known.since
        if site.downtime.lasts(now):
            self._parking.suspend(site, waiting, now)
        elif self._parking.has_room(site, waiting, known, now):
            site.add(waiting, now)
            self.dispatcher.pump(site)
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
