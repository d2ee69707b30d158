"""
The delivery worker: takes records, finds their sites, and lets them wait there for the crew.

A record waits in its site's room without a task of its own. What finds no room is parked, what
belongs into another lane is moved there, and what is not to be attempted ends at once.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from postroad.delivery import metrics
from postroad.delivery.attempt.attempt import Ended
from postroad.delivery.dispatch.dispatcher import Crew
from postroad.delivery.dispatch.endings import Endings
from postroad.delivery.dispatch.orders import order_for
from postroad.delivery.dispatch.parking import Parking
from postroad.delivery.dispatch.renewal import Renewal
from postroad.delivery.disposition.unattempted import (
    for_all,
    moved,
    nowhere,
)
from postroad.delivery.routing.lookups import Lookups
from postroad.delivery.routing.routes import Route
from postroad.delivery.routing.way import Ways, is_undecided
from postroad.delivery.sites.sites import Sites
from postroad.delivery.sites.waiting import Waiting
from postroad.delivery.tools import WorkerTools
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import Snapshot, WayOut
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.agreement import Order
from postroad.spool.errors import SpoolError
from postroad.spool.interface import Taken
from postroad.spool.record import QueueRecord
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_ASKING = 4  # the part of all places that mail may have that waits for the DNS
_HOUSEKEEPING = 1.0  # seconds
_MOST_MOVES = 3  # of a record between two attempts
# Of a drain, in which what is cut off may still be stored.
_LAST_OUTCOMES = timedelta(seconds=2)


class Worker:
    """All delivery of one process."""

    def __init__(self, tools: WorkerTools) -> None:
        self._tools = tools
        self._tasks = BackgroundTasks(metrics.INTERNAL_ERRORS)
        self._endings = Endings(tools, self._tasks)
        self._lookups = Lookups(max(1, tools.in_hand // _ASKING))
        self._parking = Parking(tools, self._endings, self._tasks)
        self._crew = Crew(
            tools, self._endings, self._tasks, self._lookups, self._parking, self._begin_again
        )
        self._sites = Sites(tools.in_hand, self._crew.resume)
        self._ways = Ways()
        self._renewal = Renewal(self._ways)
        self._elsewhere: Mapping[str, int] = {}
        self._heeded: Snapshot | None = None  # the configuration by which mail goes on

    # ------------------------------------------------------------ taking

    async def run(self) -> None:
        """Take records until the taking is stopped."""
        # An empty one will do: an order may mean what is in the queue, whatever is configured.
        await self._tools.configuration.wait_published()
        self._heed(self._tools.configuration.current)
        self._tools.taking.on_leaving(self._withdraw)
        self._tools.taking.tell_left_open(self._left_open)
        self._tools.taking.on_held(lambda reason: metrics.HELD.labels(reason.lower()).inc())
        self._tasks.spawn(self._housekeep())
        self._tasks.spawn(self._follow())
        self._tasks.spawn(self._crew.sharing.run())
        async for taken in self._tools.taking:
            self._endings.took()
            self._begin(taken)

    def _withdraw(self, lane: str) -> None:
        """
        Leave what has not begun of a lane to its next owner, whose limits are his own.

        No session idles on beside his. Which lane one was of is not known; lanes rarely leave.
        """
        for site in self._sites:
            for waiting in site.withdraw(lambda each: each.taken.lane == lane):
                self._tasks.spawn(self._endings.give_back(waiting.taken))
        self._hang_up()
        self._sites.leave(lane)
        self._parking.leave(lane)

    def _hang_up(self) -> None:
        for session in self._tools.attempts.pool.all():
            session.hang_up()

    def _left_open(self) -> Mapping[str, int]:
        return self._sites.left_open(self._tools.attempts.pool)

    def _heed_elsewhere(self) -> None:
        """Heed what former owners of our lanes have open, from before their mail comes here."""
        counts = self._tools.taking.open_elsewhere
        if counts is not self._elsewhere:
            self._elsewhere = counts
            self._sites.heed_elsewhere(counts)
            for site in self._sites:
                if site.waiting:
                    self._crew.pump(site)

    def obey(self) -> None:
        """Do as a new order says with what has not begun yet."""
        for site in self._sites:
            for waiting in site.withdraw(lambda each: self._order(each.taken) is not None):
                order = self._order(waiting.taken)
                self._tasks.spawn(self._endings.unattempted(waiting.taken, waiting.way_out, order))

    def _order(self, taken: Taken) -> Order | None:
        return order_for(self._tools.spool.orders.in_force(datetime.now(UTC)), taken)

    def _begin(self, taken: Taken) -> None:
        """Find the record's room; without a task when nothing has to be asked."""
        record = taken.record
        snapshot = self._tools.configuration.current
        self._heed(snapshot)
        self._heed_elsewhere()
        way_out = self._ways.of(snapshot, record)
        order = self._order(taken)
        undecided = way_out is None and is_undecided(snapshot, record)
        if undecided and record.hold is None and order is None:
            now = asyncio.get_running_loop().time()
            self._endings.unread(taken, self._lookups.wait(record.traffic_class, now))
            return
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

    def _begin_again(self, taken: Taken) -> None:
        """Find the room of a record that was in another one, or was to be; as if it came now."""
        if self._tools.taking.serves(taken):
            self._begin(taken)
        else:
            self._tasks.spawn(self._endings.give_back(taken))

    def _ask_for_route(self, taken: Taken, way_out: WayOut) -> None:
        record = taken.record
        slow = self._tools.directions.is_slow(way_out, record.domain)
        if not self._lookups.enter(record.traffic_class, taken.places, slow=slow):
            self._crew.ask_later(taken, way_out, "others are before it at the DNS")
            return
        self._tasks.spawn(self._look_in_turn(taken, way_out, slow=slow))

    async def _look_in_turn(self, taken: Taken, way_out: WayOut, *, slow: bool) -> None:
        try:
            await self._look_for_route(taken, way_out)
        finally:
            self._lookups.leave(taken.record.traffic_class, taken.places, slow=slow)

    async def _look_for_route(self, taken: Taken, way_out: WayOut) -> None:
        record = taken.record
        route = await self._tools.directions.find(way_out, record.domain, record.traffic_class)
        if isinstance(route, Route) and way_out.by_mx:
            await self._learn(record.domain, route.site)
        way_now = self._ways.of(self._tools.configuration.current, record)
        if way_now is not way_out or self._order(taken) is not None:  # that came meanwhile
            self._begin_again(taken)
        elif isinstance(route, Route) and self._tools.taking.serves(taken):
            self._admit(taken, way_out, route)
        elif isinstance(route, Route):
            await self._endings.give_back(taken)
        elif not route.asked:
            self._crew.ask_later(taken, way_out, route.reason)
        else:
            ended = Ended(for_all(record, nowhere(route)))
            await self._endings.attempted(taken, way_out, ended, record.site)

    async def _learn(self, domain: str, site: str) -> None:
        try:
            await self._tools.spool.sites.learn(domain, site)
        except SpoolError as error:
            log.debug("a site was not learnt", domain=domain, error=str(error))

    def _admit(self, taken: Taken, way_out: WayOut, route: Route) -> None:
        """Let a record wait at its site, or move it to the lane where that site's mail is."""
        target = self._right_lane(taken, way_out, route.site)
        if target is not None:
            settlement = moved(taken.record, target, self._tools.circumstances())
            self._tasks.spawn(self._endings.settle(taken, settlement))
            return
        site = self._sites.of(route.site, way_out)
        site.lane, site.is_left = taken.lane, False
        self._parking.came(site, taken)
        now = asyncio.get_running_loop().time()
        self._sites.keep_count(now)
        waiting = self._renewal.waiting(taken, way_out, self._tools.configuration.current)
        if site.downtime.lasts(now):
            self._parking.suspend(site, waiting, now)
        elif site.has_room(taken.record.traffic_class, now):
            site.add(waiting, now)
            self._crew.pump(site)
            if (
                taken.record.traffic_class is TrafficClass.EXPRESS and site.lines.bulk
            ):  # which makes way
                self._parking.park_surplus(site, now)
        else:
            self._parking.park(site, waiting, now)

    def _right_lane(self, taken: Taken, way_out: WayOut, site: str) -> QueueRecord | None:
        """Return the record as it is for the lane it belongs in, None where it is."""
        record = taken.record
        if record.lane_moves >= _MOST_MOVES:
            return None  # that is enough: wherever it is now, it is delivered
        if record.site == site and record.pool == way_out.pool:
            return None  # ingress knew: it put the record where its site's mail is
        here = replace(record, site=site, pool=way_out.pool)
        right_lane = self._tools.spool.lane_of(here) == taken.lane
        # Our own pool, or one that nobody else serves: then the record came to us by that.
        right_pool = way_out.pool == record.pool
        if right_lane and right_pool:
            return None
        return record.next_step(site=site, pool=way_out.pool, lane_moves=record.lane_moves + 1)

    # ------------------------------------------------------------ the whole

    async def _housekeep(self) -> None:
        """Say goodbye on sessions nobody uses, and forget sites nobody writes to."""
        while True:
            await asyncio.sleep(_HOUSEKEEPING)
            for session in self._tools.attempts.pool.expired(time.monotonic()):
                session.hang_up()
            self._heed_elsewhere()
            now = asyncio.get_running_loop().time()
            self._sites.count_shares(now)
            for site in self._sites:
                self._parking.park_surplus(site, now)
                self._parking.look(site)
            self._parking.forget(now)
            self._sites.forget(now)
            metrics.IN_HAND.set(self._endings.in_hand)

    async def _follow(self) -> None:
        """Heed each configuration as it comes into force."""
        while True:
            self._heed(self._tools.configuration.current)
            await self._tools.configuration.changed()

    def _heed(self, snapshot: Snapshot | None) -> None:
        """Let all mail go on by the objects as they are now, also what waits at a site."""
        if snapshot is self._heeded:
            return
        self._heeded = snapshot
        if snapshot is not None:
            self._know_pools(snapshot)
            ways_out = (relay.way_out for relay in snapshot.relays.values())
            self._sites.renew({way_out.name: way_out.limits for way_out in ways_out})
        leaving: list[Waiting] = []
        for site in self._sites:
            if site.waiting:
                leaving += self._renewal.leave(site, snapshot)
                if (first := site.first()) is not None:
                    self._sites.go_on(site, first.way_out)
                self._crew.pump(site)  # a limit may have been raised
        self._crew.windows.look_again()
        for waiting in leaving:
            self._begin_again(waiting.taken)

    def _know_pools(self, snapshot: Snapshot) -> None:
        """Heed which pools there are, before the first record is begun under a configuration."""
        relays = snapshot.relays.values()
        self._tools.taking.know_pools({relay.way_out.pool for relay in relays})
        several = len({relay.way_out.pool for relay in relays if relay.way_out.by_mx}) > 1
        # A Relay that cannot be read may be of another pool, and its mail meet ours at a site.
        self._sites.know_pools(several=several or snapshot.stale)

    async def drain(self, *, seconds: float) -> None:
        """Take nothing more, finish what is being sent, give the rest back."""
        self._crew.stopping = True
        await self._tools.taking.stop()
        self._hang_up()  # before others begin: what is under way ends without leaving a session
        unbegun = [each.taken for site in self._sites for each in site.empty()]
        await asyncio.gather(*(self._endings.give_back(taken) for taken in unbegun))
        try:
            async with asyncio.timeout(seconds):
                await self._endings.all_ended()
        except TimeoutError:
            log.warning("deliveries under way are cut off", count=self._endings.in_hand)
        # Outcomes that are known already are stored: who has the mail is not sent it again.
        await self._tasks.cancel(within=_LAST_OUTCOMES)
        await self._tools.taking.close()
        await self._tools.attempts.pool.close()
