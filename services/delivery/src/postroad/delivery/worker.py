"""
The delivery worker: takes records, finds their site, and works each site within its limits.

A record waits in its site's room without a task of its own; a task is a connection in use, which
takes record after record from the room. Settling goes on behind it, so that a connection does not
wait for the disk.
"""

import asyncio
import random
import time
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from postroad.delivery import metrics
from postroad.delivery.attempt import Attempt, AttemptTools, Ended, Place
from postroad.delivery.bounce import Notifier
from postroad.delivery.directions import Directions
from postroad.delivery.limits import SiteLimiter
from postroad.delivery.orders import order_for
from postroad.delivery.outcome import Kind, Outcome, bounced, deferred
from postroad.delivery.routing import NoRoute, Route
from postroad.delivery.settlement import Attempted, Circumstances, Settlement, settle
from postroad.delivery.site import Site, Waiting
from postroad.delivery.unattempted import (
    for_all,
    hold_ended,
    moved,
    no_way_out,
    ordered,
    without_body,
)
from postroad.delivery.way import Ways
from postroad.mail.status import EnhancedStatus
from postroad.policy.model import Relay, RetrySchedule, Source, WayOut
from postroad.runtime import tracing
from postroad.runtime.configuration import Configuration
from postroad.runtime.logs import get_logger
from postroad.spool.errors import BodyCorrupt, BodyMissing, LeaseLost, SpoolError
from postroad.spool.interface import Put, Scheduled, Spool, Taken, Taking
from postroad.spool.record import QueueRecord

log = get_logger("delivery.worker")

_OTHER_ERROR = EnhancedStatus(4, 3, 0)
_SETTLES = 500  # under way at once
_HOUSEKEEPING = 2.0  # seconds


@dataclass(slots=True)
class WorkerTools:
    """What the worker is made of."""

    spool: Spool
    taking: Taking
    configuration: Configuration
    directions: Directions
    attempts: AttemptTools
    notifier: Notifier
    process: str
    pool: str
    in_hand: int  # records that the process has in its hands at most


class Worker:
    """All delivery of one process."""

    def __init__(self, tools: WorkerTools) -> None:
        self._tools = tools
        self._sites: dict[str, Site] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._settling = asyncio.Semaphore(_SETTLES)
        self._dice = random.Random()
        self._ways = Ways()
        self._stopping = False
        self._in_hand = 0
        self._finishing = 0
        self._idle = asyncio.Event()

    # ------------------------------------------------------------ taking

    async def run(self) -> None:
        """Take records until the taking is stopped."""
        snapshot = await self._tools.configuration.wait_loaded()
        self._tools.taking.know_pools(_pools(snapshot.relays.values()))
        self._tools.taking.on_leaving(self._withdraw)
        self._spawn(self._housekeep())
        async for taken in self._tools.taking:
            self._in_hand += 1
            self._begin(taken)

    def _withdraw(self, lane: str) -> None:
        """Leave what has not begun of a lane to its next owner, whose limits are his own."""
        for site in self._sites.values():
            for waiting in site.withdraw(lane):
                self._spawn(self._give_back(waiting.taken))

    async def _give_back(self, taken: Taken) -> None:
        await self._tools.taking.give_back(taken)
        self._gone()

    def _begin(self, taken: Taken) -> None:
        """Find the record's room; without a task when nothing has to be asked."""
        record = taken.record
        snapshot = self._tools.configuration.current
        way_out = self._ways.of(snapshot, record) if snapshot is not None else None
        order = order_for(self._tools.spool.orders.in_force(datetime.now(UTC)), taken)
        if way_out is None or record.hold is not None or order is not None:
            self._spawn(self._settle_unattempted(taken, way_out, order.action if order else ""))
            return
        route = self._tools.directions.known(way_out, record.domain)
        if isinstance(route, Route):
            self._admit(taken, way_out, route)
        else:
            self._spawn(self._look_for_route(taken, way_out))

    async def _look_for_route(self, taken: Taken, way_out: WayOut) -> None:
        route = await self._find_route(way_out, taken.record.domain)
        if isinstance(route, NoRoute):
            ended = Ended(for_all(taken.record, _nowhere(route)))
            await self._end(taken, way_out, ended, taken.record.site)
            return
        if way_out.by_mx:
            await self._learn(taken.record.domain, route.site)
        self._admit(taken, way_out, route)

    async def _find_route(self, way_out: WayOut, domain: str) -> Route | NoRoute:
        try:
            return await self._tools.directions.find(way_out, domain)
        except Exception:
            metrics.INTERNAL_ERRORS.inc()
            log.exception("a route could not be looked for", domain=domain)
            return NoRoute(_OTHER_ERROR, "an error of ours")

    async def _learn(self, domain: str, site: str) -> None:
        try:
            await self._tools.spool.sites.learn(domain, site)
        except SpoolError as error:
            log.debug("a site was not learnt", domain=domain, error=str(error))

    def _admit(self, taken: Taken, way_out: WayOut, route: Route) -> None:
        """Let a record wait at its site, or move it to the lane where that site's mail is."""
        target = self._right_lane(taken, way_out, route.site)
        if target is not None:
            self._spawn(self._settle(taken, moved(taken.record, target, self._circumstances())))
            return
        site = self._site(route.site, way_out)
        if not site.has_room(asyncio.get_running_loop().time()):
            self._park(taken, site)
            return
        site.add(Waiting(taken, way_out, self._source(way_out)))
        self._pump(site)

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

    def _site(self, name: str, way_out: WayOut) -> Site:
        site = self._sites.get(name)
        if site is None:
            site = self._sites[name] = Site(name, SiteLimiter(way_out.limits), self._tools.in_hand)
        elif site.limiter.limits != way_out.limits:
            site.limiter.adopt(way_out.limits)
        return site

    def _park(self, taken: Taken, site: Site) -> None:
        metrics.PARKED.inc()
        due = datetime.now(UTC) + timedelta(seconds=site.park())
        put = Put(taken.record.next_step(site=site.name), Scheduled(due))
        self._spawn(self._settle(taken, Settlement((put,), ())))

    # ------------------------------------------------------------ working a site

    def _pump(self, site: Site) -> None:
        """Put as many connections to work as there is mail for and the limits allow."""
        loop = asyncio.get_running_loop()
        while site.waiting and site.limiter.has_slot and not self._stopping:
            now = loop.time()
            start = site.limiter.next_start(now)
            if start > now:
                self._pump_later(site, start - now)
                return
            site.limiter.connections += 1
            metrics.CONNECTIONS.inc()
            first = site.next()
            assert first is not None
            site.begin(now)
            self._spawn(self._work(site, first))

    def _pump_later(self, site: Site, seconds: float) -> None:
        if not site.timer_set:
            site.timer_set = True
            asyncio.get_running_loop().call_later(seconds, self._pump_again, site)

    def _pump_again(self, site: Site) -> None:
        site.timer_set = False
        self._pump(site)

    async def _work(self, site: Site, waiting: Waiting | None) -> None:
        """Deliver record after record over one connection's worth of the site's limit."""
        loop = asyncio.get_running_loop()
        try:
            while waiting is not None:
                attempt = await self._attempt(site, waiting)
                while attempt is not None:
                    await self._carry_out(site, attempt)
                    attempt = attempt.successor
                waiting = None
                if not self._stopping and site.limiter.next_start(loop.time()) <= loop.time():
                    waiting = site.next()
                    if waiting is not None:
                        site.begin(loop.time())
        finally:
            site.limiter.connections -= 1
            metrics.CONNECTIONS.dec()
            self._pump(site)

    async def _attempt(self, site: Site, waiting: Waiting) -> Attempt | None:
        """Return an attempt at a record; None when it ends at once, as there is nowhere to go."""
        taken, way_out = waiting.taken, waiting.way_out
        record = taken.record
        if site.is_down(asyncio.get_running_loop().time()):
            outcome = deferred(f"suspended for a while: {site.down_reason}")
            await self._end(taken, way_out, Ended(for_all(record, outcome)), site.name)
            return None
        route = self._tools.directions.known(way_out, record.domain)
        if route is None:
            route = await self._find_route(way_out, record.domain)
        if isinstance(route, Route):
            return self._attempt_at(site, waiting, route)
        ended = Ended(for_all(record, _nowhere(route)))
        self._judge(site, way_out, ended)
        await self._end(taken, way_out, ended, site.name)
        return None

    def _attempt_at(self, site: Site, waiting: Waiting, route: Route) -> Attempt:
        return Attempt(self._tools.attempts, waiting, route, site, partial(self._succeed, site))

    def _succeed(self, site: Site, place: Place) -> Attempt | None:
        """Take the record that is next out of its room, if it goes where an attempt now ends."""
        waiting = site.first()
        # A message rate says when the next may begin, and that is rarely now.
        if waiting is None or self._stopping or waiting.way_out.limits.message_rate is not None:
            return None
        now = asyncio.get_running_loop().time()
        route = self._tools.directions.known(waiting.way_out, waiting.taken.record.domain)
        if not isinstance(route, Route) or site.is_down(now):
            return None
        attempt = self._attempt_at(site, waiting, route)
        if attempt.place is not place or not self._tools.taking.fresh(waiting.taken):
            return None
        site.next()
        site.begin(now)
        return attempt

    async def _carry_out(self, site: Site, attempt: Attempt) -> None:
        """Run an attempt and settle its record."""
        taken, way_out = attempt.waiting.taken, attempt.waiting.way_out
        record = taken.record
        try:
            ended = await self._run(attempt)
        except LeaseLost:
            metrics.LEASES_LOST.inc()
            log.warning(
                "a record was dropped, its lease is in doubt", record_id=str(record.record_id)
            )
            self._tools.taking.drop(taken)
            self._gone()
            return
        except (BodyMissing, BodyCorrupt) as error:
            await self._hold_for_body(taken, error)
            return
        except SpoolError as error:
            ended = Ended(for_all(record, deferred(f"the body cannot be read now: {error}")))
        except Exception:
            metrics.INTERNAL_ERRORS.inc()
            log.exception("an attempt failed", record_id=str(record.record_id))
            ended = Ended(for_all(record, deferred("an error of ours")))
        else:
            self._judge(site, way_out, ended)
        await self._end(taken, way_out, ended, site.name)

    async def _run(self, attempt: Attempt) -> Ended:
        record = attempt.waiting.taken.record
        metrics.ATTEMPTS.inc()
        with tracing.span(
            "delivery.attempt", parent=record.origin.traceparent, kind="client"
        ) as span:
            ended = await attempt.run()
            if tracing.enabled():
                site = attempt.route.site
                span.set({"postroad.queue_id": record.record_id.queue_id, "postroad.site": site})
            return ended

    def _source(self, way_out: WayOut) -> Source | None:
        sources = way_out.sources
        if not sources:
            return None
        return self._dice.choices(sources, [max(0, source.weight) for source in sources])[0]

    def _judge(self, site: Site, way_out: WayOut, ended: Ended) -> None:
        if ended.reached:
            site.came_up()
        elif ended.outcomes:
            reason = next(iter(ended.outcomes.values())).text
            now = asyncio.get_running_loop().time()
            site.went_down(reason, now, way_out.retry.first.total_seconds())

    # ------------------------------------------------------------ ending

    async def _end(self, taken: Taken, way_out: WayOut, ended: Ended, site: str) -> None:
        """Settle an attempt behind the connection's back, as long as not too many are under way."""
        attempted = Attempted(ended.outcomes, site, ended.peer_address)
        settlement = settle(taken.record, attempted, self._circumstances(way_out.retry))
        self._log(taken.record, ended)
        if not settlement.puts and self._finishing < _SETTLES:
            self._finishing += 1
            self._tools.taking.finish(taken, settlement.events, self._finished)
            return
        await self._settling.acquire()
        self._spawn(self._settle_released(taken, settlement))

    def _finished(self) -> None:
        self._finishing -= 1
        self._gone()

    async def _settle_released(self, taken: Taken, settlement: Settlement) -> None:
        try:
            await self._settle(taken, settlement)
        finally:
            self._settling.release()

    async def _settle(self, taken: Taken, settlement: Settlement) -> None:
        await self._tools.taking.settle(taken, settlement.puts, settlement.events)
        self._gone()

    def _gone(self) -> None:
        self._in_hand -= 1
        if not self._in_hand:
            self._idle.set()

    def _circumstances(self, schedule: RetrySchedule | None = None) -> Circumstances:
        return Circumstances(
            schedule=schedule or RetrySchedule(),
            notifier=self._tools.notifier,
            snapshot=self._tools.configuration.current,
            process=self._tools.process,
            now=datetime.now(UTC),
            dice=self._dice,
        )

    def _log(self, record: QueueRecord, ended: Ended) -> None:
        now = datetime.now(UTC)
        trace_id = tracing.trace_id_of(record.origin.traceparent)
        traced = {"trace_id": trace_id} if trace_id else {}
        for number, outcome in ended.outcomes.items():
            if outcome.kind is Kind.DELIVERED:
                metrics.QUEUE_SECONDS.observe((now - record.arrival).total_seconds())
            log.info(
                "attempted",
                queue_id=record.record_id.queue_id,
                recipient=str(record.recipients[number].mailbox),
                outcome=outcome.kind.value,
                reply=outcome.text,
                host=outcome.host,
                attempt=record.attempts + 1,
                **traced,
            )

    # ------------------------------------------------------------ the special cases

    async def _settle_unattempted(self, taken: Taken, way_out: WayOut | None, order: str) -> None:
        """End the taking of a record with an order on it, out of a hold, or without a way out."""
        record = taken.record
        at = self._circumstances(way_out.retry if way_out else None)
        if order:
            settlement = ordered(record, order, at)
        elif record.hold is not None:
            settlement = hold_ended(record, record.hold, at)
        else:
            settlement = no_way_out(record, at)
        await self._settle(taken, settlement)

    async def _hold_for_body(self, taken: Taken, error: SpoolError) -> None:
        record, reason = taken.record, type(error).__name__
        log.error(
            "a record is held", record_id=str(record.record_id), reason=reason, error=str(error)
        )
        await self._settle(taken, without_body(record, reason, self._circumstances()))

    # ------------------------------------------------------------ the whole

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            metrics.INTERNAL_ERRORS.inc()
            log.error("a part of delivery failed", exc_info=task.exception())

    async def _housekeep(self) -> None:
        """Say goodbye on sessions nobody uses, forget sites nobody writes to, know new pools."""
        while True:
            await asyncio.sleep(_HOUSEKEEPING)
            for session in self._tools.attempts.pool.expired(time.monotonic()):
                session.hang_up()
            now = asyncio.get_running_loop().time()
            for site in self._sites.values():
                for waiting in site.surplus(now):
                    self._park(waiting.taken, site)
            for name in [n for n, s in self._sites.items() if s.idle and not s.is_down(now)]:
                if not self._sites[name].limiter.remembers(now):
                    del self._sites[name]
            metrics.IN_HAND.set(self._in_hand)
            snapshot = self._tools.configuration.current
            if snapshot is not None:
                self._tools.taking.know_pools(_pools(snapshot.relays.values()))

    async def drain(self, *, seconds: float) -> None:
        """Take nothing more, finish what is being sent, give the rest back."""
        self._stopping = True
        await self._tools.taking.stop()
        for site in self._sites.values():
            while (waiting := site.next()) is not None:
                await self._give_back(waiting.taken)
        try:
            async with asyncio.timeout(seconds):
                while self._in_hand:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            log.warning("deliveries under way are cut off", count=self._in_hand)
        for task in list(self._tasks):
            task.cancel()
        await self._tools.taking.close()
        await self._tools.attempts.pool.close()


def _nowhere(route: NoRoute) -> Outcome:
    if route.is_permanent:
        return bounced(route.reason, route.status)
    return deferred(route.reason, status=route.status)


def _pools(relays: Iterable[Relay]) -> set[str]:
    return {relay.way_out.pool for relay in relays}
