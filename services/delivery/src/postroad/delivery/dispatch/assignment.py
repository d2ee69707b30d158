"""
Finds the site of each record, and puts it into the site's waiting room.

A record whose route is not known waits for the DNS meanwhile. One that belongs to another lane is
moved there, and one that must not be attempted ends at once.

A record that cannot be tried now is put off, which is no attempt. There are three ways, by what it
waits for. For a newer configuration, it waits in memory for a moment (`renewal.EarlyRecords`). For
the DNS, for a person to mend an object, or for room for its body (`delivery.body_room`), it goes
back to the queue, and comes back at a limited rate (`routing.lookups`). For room at its site it
goes back, too, but is remembered, and recalled when there is room (`parking`).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from postroad.delivery.attempt.attempt import AttemptResult
from postroad.delivery.context import WorkerContext
from postroad.delivery.dispatch.dispatcher import SiteDispatcher
from postroad.delivery.dispatch.parking.parked import Parked
from postroad.delivery.dispatch.parking.parking import Parking
from postroad.delivery.dispatch.precedence import order_for
from postroad.delivery.dispatch.renewal import Renewal
from postroad.delivery.dispatch.settler import Settler
from postroad.delivery.metrics import CROWDED, INTERNAL_ERRORS
from postroad.delivery.routing.chosen import MOST_CHOICES, choose
from postroad.delivery.routing.egress_paths import EgressPaths, is_undecided
from postroad.delivery.routing.lookups import ComebackLines, Lookups, sender_of
from postroad.delivery.routing.routes import Route
from postroad.delivery.settling.settlement import Settlement
from postroad.delivery.settling.unattempted import ends_in_part, for_all, moved, nowhere
from postroad.delivery.sharing.edits import PoolEdits
from postroad.delivery.sites.sites import Sites
from postroad.delivery.sites.waiting import WaitingRecord
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import EgressPath
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.agreement import Order
from postroad.spool.errors import SpoolError
from postroad.spool.interface import LeasedRecord
from postroad.spool.puts.accepted import moved as where_it_waits
from postroad.spool.record import ChosenSite, QueueRecord
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_ASKING = 4  # a quarter of all places is for mail that waits for the DNS
_CROWDED_RATE = 20.0  # large messages of each class that come back in a second for room in memory
_MOST_MOVES = 3  # moves of a record between two attempts, if the DNS is not the reason


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
        self._crowded = ComebackLines(_CROWDED_RATE)
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
        if record.has_ended:
            self._settler.nothing_left(leased)
            return
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
        if record.hold is None and order is None and self._is_early(leased):
            return
        if egress_path is None or record.hold is not None or order is not None:
            self._parking.came(leased)
            self._tasks.spawn(self._settler.unattempted(leased, egress_path, order))
            return
        route = self._context.router.known_to(
            egress_path, record.domain, record.site, record.chosen_site
        )
        if isinstance(route, Route):
            self._admit(leased, egress_path, route)
        elif self._context.router.asks_nobody(egress_path, record.domain):
            self._tasks.spawn(self._look_for_route(leased, egress_path))
        else:
            self._ask_for_route(leased, egress_path)

    def _is_early(self, leased: LeasedRecord) -> bool:
        """Keep a record that waits for a newer configuration, or put it off if many wait so."""
        if not self.renewal.is_early(leased):
            return False
        if not self.renewal.keep(leased):
            self._settler.unread(leased, self._wait(leased.record, None))
        return True

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

    def wait_for_room(self, waiting: WaitingRecord, site: str) -> None:
        """Put off a record for whose body there is no room in memory; this is no attempt."""
        CROWDED.inc()
        leased, egress_path = waiting.leased, waiting.egress_path
        sender, now = sender_of(leased.record, egress_path), asyncio.get_running_loop().time()
        wait = self._crowded.wait(leased.record.traffic_class, sender, now)
        reason = "other large messages are before it"
        self._settler.put_off(leased, egress_path, site, wait, reason, expires=False)

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
        """Find a record's route and assign it; what fails unexpectedly, fails for it alone."""
        try:
            await self._find_route(leased, egress_path)
        except Exception:  # without this the record would stay in hand
            INTERNAL_ERRORS.inc()
            log.exception("no route was found", record_id=str(leased.record.record_id))
            self.ask_later(leased, egress_path, "local error")

    async def _find_route(self, leased: LeasedRecord, egress_path: EgressPath) -> None:
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
        if self._moves(leased, egress_path, route, leased.record.chosen_site):
            return
        waiting = self.renewal.waiting(leased, egress_path, self._context.configuration.current)
        if known is not None:
            waiting.since = known.since
        self._enter(route.site, waiting, known)

    def turn(self, waiting: WaitingRecord, route: Route) -> None:
        """Assign a record, which has left its site's waiting room, to the site it goes to now."""
        leased, egress_path = waiting.leased, waiting.egress_path
        if self.order(leased) is not None or not self._context.consumer.serves(leased):
            self.begin_again(leased)
        elif not self._moves(leased, egress_path, route, waiting.chosen):
            chosen = choose(route, waiting.chosen, datetime.now(UTC))
            self._enter(route.site, replace(waiting, chosen=chosen, refusals=0), None)

    def _enter(self, name: str, waiting: WaitingRecord, known: Parked | None) -> None:
        """Put a record into the waiting room of a site in its lane, or park it."""
        leased = waiting.leased
        site = self.sites.of(name, waiting.egress_path)
        site.lane_key, site.is_left = leased.lane_key, False
        now = asyncio.get_running_loop().time()
        self.sites.keep_count(now)
        if site.downtime.lasts(now):
            self._parking.suspend(site, waiting, now)
        elif self._parking.has_room(site, waiting, known, now):
            site.add(waiting, now)
            self.dispatcher.pump(site)
            if leased.record.traffic_class is TrafficClass.TRANSACTIONAL and site.lines.bulk:
                self._parking.park_surplus(site, now)  # bulk mail makes way
        else:
            self._parking.park(site, waiting, now)

    def _moves(
        self,
        leased: LeasedRecord,
        egress_path: EgressPath,
        route: Route,
        chosen: ChosenSite | None,
    ) -> bool:
        """Move a record if its site is another lane's; return whether it is."""
        record = leased.record
        snapshot = self._context.configuration.current
        generation = snapshot.generation if snapshot is not None else 0
        moves = record.lane_moves if record.generation >= generation else 0
        if self._is_here(leased, egress_path, route.site, moves):
            return False
        if chosen is not None and chosen.number >= MOST_CHOICES:
            self.ask_later(leased, egress_path, "its MX hosts differ from process to process")
            return True
        target = record.next_step(
            site=route.site,
            pool=egress_path.pool,
            lane_moves=moves + 1,
            chosen_site=_choice(record, egress_path, route, chosen),
            generation=max(generation, record.generation),
        )
        settlement = moved(record, target, self._context.settlement_context())
        self._tasks.spawn(self._settler.settle(leased, settlement))
        return True

    def _is_here(
        self, leased: LeasedRecord, egress_path: EgressPath, site: str, moves: int
    ) -> bool:
        """Whether a record is in its right lane."""
        record, pool = leased.record, egress_path.pool
        # Who accepts mail chooses a lane, and the site of which it says that this is the lane. In
        # another lane the site would have an owner more, who knows nothing of the others' use.
        named = record if record.site == site else replace(record, site=site)
        right_lane = self._context.spool.lane_of(named) == leased.lane_key.lane
        # It may be a pool without processes, whose records come to `default`.
        if right_lane and record.pool == pool:
            return True
        # Processes that disagree about an egress path do not pass the record on for ever.
        return moves >= _MOST_MOVES and (right_lane or not egress_path.by_mx)


def _choice(
    record: QueueRecord, egress_path: EgressPath, route: Route, chosen: ChosenSite | None
) -> ChosenSite | None:
    """Return the choice that a moved record has; None without another answer to heed."""
    if not record.site or not egress_path.by_mx:
        return None
    return chosen if record.site == route.site else choose(route, chosen, datetime.now(UTC))
