"""
The connections to sites, each of which delivers record after record from a site's waiting room.

One task is one connection in use. After a message it continues with the next one. If that goes to
the same endpoint, its envelope is sent with the end of the message before.
"""

import asyncio
import math
import time

from postroad.delivery import metrics
from postroad.delivery.attempt.attempt import Attempt, AttemptResult
from postroad.delivery.attempt.connection import SiteConnection
from postroad.delivery.context import WorkerContext
from postroad.delivery.dispatch.assigner import Assigner
from postroad.delivery.dispatch.parking.parking import Parking
from postroad.delivery.dispatch.runner import AttemptRunner
from postroad.delivery.dispatch.settler import Settler
from postroad.delivery.routing.lookups import sender_of
from postroad.delivery.routing.routes import NoRoute, Route
from postroad.delivery.routing.sources import suiting
from postroad.delivery.settling.unattempted import for_all, nowhere
from postroad.delivery.sharing.claims import Sharing
from postroad.delivery.sharing.windows import Windows
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.total import SiteTotal
from postroad.delivery.sites.waiting import WaitingRecord
from postroad.process.background.tasks import BackgroundTasks
from postroad.smtp_client.endpoint import Endpoint


class SiteDispatcher:
    """All connections of a process, to all sites."""

    def __init__(
        self,
        context: WorkerContext,
        settler: Settler,
        tasks: BackgroundTasks,
        parking: Parking,
        assigner: Assigner,
    ) -> None:
        self._context = context
        self._assigner = assigner
        records, pool = context.spool.site_records, context.attempts.pool
        self.windows = Windows(records, tasks, self.resume)
        self.sharing = Sharing(records, self.windows, pool, tasks, self.resume)
        self._settler = settler
        self._tasks = tasks
        self._parking = parking
        self._runner = AttemptRunner(context, settler, parking, assigner, lambda: self.stopping)
        self._line: dict[Site, None] = {}  # sites that wait for places
        self.stopping = False  # begin no more attempts

    def pump(self, site: Site) -> None:
        """Start as many connections as there is mail for and the limits allow."""
        for each in site.total.line():  # first those that wait for room at the same hosts
            if each is not site:
                self._pump(each)
        self._pump(site)

    def resume(self, total: SiteTotal[Site]) -> None:
        """Continue with mail that waited for a lease."""
        for each in total.line():
            self._pump(each)

    def _pump(self, site: Site) -> None:
        loop = asyncio.get_running_loop()
        while site.waiting and site.has_slot and not self.stopping:
            if not site.total.limiter.has_slot:
                site.total.waits(site)
                self.sharing.ask(site.total)
                return
            now = loop.time()
            if not site.has_place(now):
                self._line.setdefault(site)
                return
            start = site.next_start(now)
            if start > now:
                site.total.waits(site)
                self._pump_later(site, start - now)
                return
            site.occupy()
            metrics.CONNECTIONS.inc()
            first = site.next()
            assert first is not None
            site.begin(first, now)
            self._tasks.spawn(self._work(site, first))

    def go_on(self, site: Site, now: float) -> None:
        """
        Start connections for mail that waited for places.

        If those in use show no progress, one more than before is started.
        """
        site.probes(now)
        self._pump(site)

    def _pump_next(self) -> None:
        """Let the first site that waits for places have those that are free; it may wait again."""
        if self._line:
            self._line.pop(site := next(iter(self._line)))
            self._pump(site)

    def _pump_later(self, site: Site, seconds: float) -> None:
        if seconds == math.inf:
            self.windows.ask(site)
            return
        due = (loop := asyncio.get_running_loop()).time() + seconds
        if due < site.timer:  # a raised limit brings it nearer
            site.timer = due
            loop.call_at(due, self._pump_again, site, due)

    def _pump_again(self, site: Site, due: float) -> None:
        if due == site.timer:
            site.timer = math.inf
            self.pump(site)

    async def _work(self, site: Site, waiting: WaitingRecord | None) -> None:
        """Deliver record after record, with one connection of the site's limit."""
        loop = asyncio.get_running_loop()
        connection = SiteConnection[Attempt](self._context.attempts, site, self)
        try:
            while waiting is not None:
                attempt = await self._attempt_or_leave(site, waiting, connection)
                began = loop.time()
                while attempt is not None:
                    await self._runner.run(site, attempt)
                    now = loop.time()
                    site.ended(attempt.waiting, now, now - began, silence=attempt.silence)
                    attempt, began = connection.advance(), now
                    if site.waiting and site.has_slot:
                        self.pump(site)
                    self._pump_next()
                waiting = self._next(site, loop.time())
        finally:
            site.vacate()
            metrics.CONNECTIONS.dec()
            self.pump(site)
            self._pump_next()
            if not site.waiting and not self.stopping:
                self._parking.look(site)
            while (heir := site.heir) is not None:  # the site that has these hosts now
                self.pump(heir)
                site = heir

    def _next(self, site: Site, now: float) -> WaitingRecord | None:
        """Take the next record for a connection, None if the connection is to end."""
        if self.stopping or site.next_start(now) > now or not site.has_place(now):
            return None
        if site.makes_way or site.has_too_many:
            return None
        if (waiting := site.next()) is not None:
            site.begin(waiting, now)
        return waiting

    async def _attempt_or_leave(
        self, site: Site, waiting: WaitingRecord, connection: SiteConnection[Attempt]
    ) -> Attempt | None:
        attempt = None
        try:
            attempt = await self._attempt(site, waiting, connection)
        finally:
            if attempt is None:
                site.leaves(waiting, asyncio.get_running_loop().time())
                site.take_back(waiting)
        return attempt

    async def _attempt(
        self, site: Site, waiting: WaitingRecord, connection: SiteConnection[Attempt]
    ) -> Attempt | None:
        """Return an attempt at a record; None if the record was handled without one."""
        leased, egress_path = waiting.leased, waiting.egress_path
        record = leased.record
        route = self._known(site, waiting)
        if route is None:
            route = await self._context.router.find(
                egress_path, record.domain, record.traffic_class, sender_of(record, egress_path)
            )
        now = asyncio.get_running_loop().time()
        if waiting.is_outdated(self._context.configuration.current):
            self._assigner.begin_again(leased)
        elif isinstance(route, Route) and route.site != site.name:
            self._assigner.turn(waiting, route)
        elif site.downtime.lasts(now):
            self._parking.suspend(site, waiting, now)
        elif isinstance(route, Route):
            attempt = self._attempt_at(site, waiting, route, connection)
            if attempt.takes_room():
                return attempt
            self._assigner.wait_for_room(waiting, site.name)
        elif not route.asked:
            self._assigner.ask_later(leased, egress_path, route.reason)
        else:  # this says nothing about the site, which other domains have, too
            outcome = nowhere(route, record.domain, self._context.configuration.current)
            ended = AttemptResult(for_all(record, outcome))
            await self._settler.attempted(leased, egress_path, ended, site.name)
        return None

    def _known(self, site: Site, waiting: WaitingRecord) -> Route | NoRoute | None:
        domain, chosen = waiting.leased.record.domain, waiting.chosen
        return self._context.router.known_to(waiting.egress_path, domain, site.name, chosen)

    def _attempt_at(
        self,
        site: Site,
        waiting: WaitingRecord,
        route: Route,
        connection: SiteConnection[Attempt],
    ) -> Attempt:
        attempts, sources = self._context.attempts, waiting.egress_path.sources
        missing, now = attempts.missing_sources, time.monotonic()
        waiting.source = suiting(waiting.source, sources, route.hosts, missing, now)
        return Attempt(attempts, waiting, route, connection)

    def succeed(
        self, site: Site, connection: SiteConnection[Attempt], endpoint: Endpoint
    ) -> Attempt | None:
        """Take the next record and return its attempt, if it goes to the same endpoint."""
        waiting = site.first()
        # With a message rate, the next message may rarely begin now.
        if waiting is None or self.stopping or site.limiter.limits.message_rate is not None:
            return None
        now = asyncio.get_running_loop().time()
        is_outdated = waiting.is_outdated(self._context.configuration.current)
        if site.makes_way or site.has_too_many or is_outdated or not site.has_place(now):
            return None
        route = self._known(site, waiting)
        if not isinstance(route, Route) or route.site != site.name or site.downtime.lasts(now):
            return None
        attempt = self._attempt_at(site, waiting, route, connection)
        is_fresh = self._context.consumer.fresh(waiting.leased)
        if attempt.endpoint is not endpoint or not is_fresh or not attempt.takes_room():
            return None
        site.next()
        site.begin(waiting, now)
        return attempt
