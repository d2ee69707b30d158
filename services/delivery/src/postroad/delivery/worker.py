"""
The delivery worker: takes records, finds their sites, and lets them wait there for the crew.

A record waits in its site's room without a task of its own. What finds no room is parked, what
belongs into another lane is moved there, and what is not to be attempted ends at once.
"""

import asyncio
import random
import time
from dataclasses import replace
from datetime import UTC, datetime

from postroad.delivery import metrics
from postroad.delivery.attempt import Ended
from postroad.delivery.crew import Crew
from postroad.delivery.endings import Endings
from postroad.delivery.lookups import Lookups
from postroad.delivery.orders import order_for
from postroad.delivery.routing import NoRoute, Route
from postroad.delivery.site import Site, Waiting
from postroad.delivery.sites import Sites
from postroad.delivery.tasks import Tasks
from postroad.delivery.tools import WorkerTools
from postroad.delivery.unattempted import (
    for_all,
    moved,
    nowhere,
)
from postroad.delivery.way import Ways
from postroad.policy.model import Snapshot, Source, WayOut
from postroad.runtime.logs import get_logger
from postroad.spool.agreement import Order
from postroad.spool.errors import SpoolError
from postroad.spool.interface import Taken
from postroad.spool.record import QueueRecord

log = get_logger("delivery.worker")

_ASKING = 4  # the part of all places that mail may have that waits for the DNS
_HOUSEKEEPING = 1.0  # seconds
_LAST_OUTCOMES = 2.0  # seconds of a drain in which what is cut off may still be stored


class Worker:
    """All delivery of one process."""

    def __init__(self, tools: WorkerTools) -> None:
        self._tools = tools
        self._tasks = Tasks()
        self._endings = Endings(tools, self._tasks)
        self._lookups = Lookups(max(1, tools.in_hand // _ASKING))
        self._crew = Crew(tools, self._endings, self._tasks, self._lookups)
        self._sites = Sites(tools.in_hand, self._crew.resume)
        self._dice = random.Random()
        self._ways = Ways()
        self._pools_of: Snapshot | None = None  # the configuration whose pools are known

    # ------------------------------------------------------------ taking

    async def run(self) -> None:
        """Take records until the taking is stopped."""
        # An empty one will do: an order may mean what is in the queue, whatever is configured.
        await self._tools.configuration.wait_published()
        self._know_pools(self._tools.configuration.current)
        self._tools.taking.on_leaving(self._withdraw)
        self._tasks.spawn(self._housekeep())
        self._tasks.spawn(self._crew.sharing.run())
        async for taken in self._tools.taking:
            self._endings.took()
            self._begin(taken)

    def _withdraw(self, lane: str) -> None:
        """Leave what has not begun of a lane to its next owner, whose limits are his own."""
        for site in self._sites:
            for waiting in site.withdraw(lambda taken: taken.lane == lane):
                self._tasks.spawn(self._endings.give_back(waiting.taken))

    def obey(self) -> None:
        """Do as a new order says with what has not begun yet."""
        for site in self._sites:
            for waiting in site.withdraw(lambda taken: self._order(taken) is not None):
                order = self._order(waiting.taken)
                self._tasks.spawn(self._endings.unattempted(waiting.taken, waiting.way_out, order))

    def _order(self, taken: Taken) -> Order | None:
        return order_for(self._tools.spool.orders.in_force(datetime.now(UTC)), taken)

    def _begin(self, taken: Taken) -> None:
        """Find the record's room; without a task when nothing has to be asked."""
        record = taken.record
        snapshot = self._tools.configuration.current
        self._know_pools(snapshot)
        way_out = self._ways.of(snapshot, record) if snapshot is not None else None
        order = self._order(taken)
        if way_out is None or record.hold is not None or order is not None:
            self._tasks.spawn(self._endings.unattempted(taken, way_out, order))
            return
        route = self._tools.directions.known(way_out, record.domain)
        if isinstance(route, Route):
            self._admit(taken, way_out, route)
        elif self._tools.directions.asks_nobody(way_out, record.domain):
            self._tasks.spawn(self._look_for_route(taken, way_out))
        else:
            self._ask_for_route(taken, way_out)

    def _ask_for_route(self, taken: Taken, way_out: WayOut) -> None:
        slow = self._tools.directions.is_slow(way_out, taken.record.domain)
        if not self._lookups.enter(slow=slow):
            self._crew.ask_later(taken, way_out, "others are before it at the DNS")
            return
        self._tasks.spawn(self._look_in_turn(taken, way_out, slow=slow))

    async def _look_in_turn(self, taken: Taken, way_out: WayOut, *, slow: bool) -> None:
        try:
            await self._look_for_route(taken, way_out)
        finally:
            self._lookups.leave(slow=slow)

    async def _look_for_route(self, taken: Taken, way_out: WayOut) -> None:
        route = await self._tools.directions.find(way_out, taken.record.domain)
        if (order := self._order(taken)) is not None:  # it came meanwhile
            await self._endings.unattempted(taken, way_out, order)
            return
        if isinstance(route, NoRoute) and not route.asked:
            self._crew.ask_later(taken, way_out, route.reason)
            return
        if isinstance(route, NoRoute):
            ended = Ended(for_all(taken.record, nowhere(route)))
            await self._endings.attempted(taken, way_out, ended, taken.record.site)
            return
        if way_out.by_mx:
            await self._learn(taken.record.domain, route.site)
        if self._tools.taking.serves(taken):
            self._admit(taken, way_out, route)
        else:
            await self._endings.give_back(taken)

    async def _learn(self, domain: str, site: str) -> None:
        try:
            await self._tools.spool.sites.learn(domain, site)
        except SpoolError as error:
            log.debug("a site was not learnt", domain=domain, error=str(error))

    def _admit(self, taken: Taken, way_out: WayOut, route: Route) -> None:
        """Let a record wait at its site, or move it to the lane where that site's mail is."""
        target = self._right_lane(taken, way_out, route.site)
        if target is not None:
            settlement = moved(taken.record, target, self._endings.circumstances())
            self._tasks.spawn(self._endings.settle(taken, settlement))
            return
        site = self._sites.of(route.site, way_out)
        now = asyncio.get_running_loop().time()
        self._sites.keep_count(now)
        waiting = Waiting(taken, way_out, self._source(way_out))
        if site.is_down(now):
            self._crew.suspend(site, waiting, now)
        elif site.has_room(now):
            site.add(waiting, now)
            self._crew.pump(site)
        else:
            self._park(waiting, site, now)

    def _right_lane(self, taken: Taken, way_out: WayOut, site: str) -> QueueRecord | None:
        """Return the record as it is for the lane it belongs in, None where it is."""
        record = taken.record
        if record.lane_moves:
            return None  # once is enough: wherever it is now, it is delivered
        if record.site == site and record.pool == way_out.pool:
            return None  # ingress knew: it put the record where its site's mail is
        here = replace(record, site=site, pool=way_out.pool)
        right_lane = self._tools.spool.lane_of(here) == taken.lane
        # Our own pool, or one that nobody else serves: then the record came to us by that.
        right_pool = way_out.pool == record.pool
        if right_lane and right_pool:
            return None
        return record.next_step(site=site, pool=way_out.pool, lane_moves=1)

    def _source(self, way_out: WayOut) -> Source | None:
        sources = way_out.sources
        if not sources:
            return None
        return self._dice.choices(sources, [max(0, source.weight) for source in sources])[0]

    def _park(self, waiting: Waiting, site: Site, now: float) -> None:
        metrics.PARKED.inc()
        reason = "others are before it at its site"
        self._endings.put_off(waiting.taken, waiting.way_out, site.name, site.park(now), reason)

    # ------------------------------------------------------------ the whole

    async def _housekeep(self) -> None:
        """Say goodbye on sessions nobody uses, forget sites nobody writes to, know new pools."""
        while True:
            await asyncio.sleep(_HOUSEKEEPING)
            for session in self._tools.attempts.pool.expired(time.monotonic()):
                session.hang_up()
            now = asyncio.get_running_loop().time()
            self._sites.count_shares(now)
            for site in self._sites:
                for waiting in site.surplus(now):
                    self._park(waiting, site, now)
            self._sites.forget(now)
            metrics.IN_HAND.set(self._endings.in_hand)
            self._know_pools(self._tools.configuration.current)

    def _know_pools(self, snapshot: Snapshot | None) -> None:
        """Heed which pools there are, before the first record is begun under a configuration."""
        if snapshot is None or snapshot is self._pools_of:
            return
        self._pools_of = snapshot
        relays = snapshot.relays.values()
        self._tools.taking.know_pools({relay.way_out.pool for relay in relays})
        several = len({relay.way_out.pool for relay in relays if relay.way_out.by_mx}) > 1
        self._sites.know_pools(several=several)

    async def drain(self, *, seconds: float) -> None:
        """Take nothing more, finish what is being sent, give the rest back."""
        self._crew.stopping = True
        await self._tools.taking.stop()
        unbegun = [each.taken for site in self._sites for each in site.empty()]
        await asyncio.gather(*(self._endings.give_back(taken) for taken in unbegun))
        try:
            async with asyncio.timeout(seconds):
                await self._endings.all_ended()
        except TimeoutError:
            log.warning("deliveries under way are cut off", count=self._endings.in_hand)
        # Outcomes that are known already are stored: who has the mail is not sent it again.
        await self._tasks.cut_off(seconds=_LAST_OUTCOMES)
        await self._tools.taking.close()
        await self._tools.attempts.pool.close()
