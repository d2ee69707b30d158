"""
Runs the attempts at records: judges the site by what came of one, and has its record ended.

The dispatcher decides which record begins; this is what follows, whatever goes wrong in it.
"""

import asyncio
from collections.abc import Callable

from postroad.delivery import metrics
from postroad.delivery.attempt.attempt import Attempt, AttemptResult
from postroad.delivery.context import WorkerContext
from postroad.delivery.dispatch.assigner import Assigner
from postroad.delivery.dispatch.parking.parking import Parking
from postroad.delivery.dispatch.settler import Settler
from postroad.delivery.outcome import deferred
from postroad.delivery.settling.unattempted import for_all
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.waiting import WaitingRecord
from postroad.policy.model import EgressPath
from postroad.smtp_client.network import OwnLack
from postroad.spool.errors import SpoolError
from postroad.telemetry import tracing
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_MOST_REFUSALS = 5  # refused connections of one record; after that, its retry schedule applies


class AttemptRunner:
    """Runs attempts; while the process `is_stopping`, no record goes back to its waiting room."""

    def __init__(
        self,
        context: WorkerContext,
        settler: Settler,
        parking: Parking,
        assigner: Assigner,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._context = context
        self._settler = settler
        self._parking = parking
        self._assigner = assigner
        self._is_stopping = is_stopping

    async def run(self, site: Site, attempt: Attempt) -> None:
        """Run an attempt and end its record, whatever goes wrong."""
        try:
            await self._carry_out(site, attempt)
        except Exception:  # the next attempt has begun already, and must go on
            metrics.INTERNAL_ERRORS.inc()
            leased = attempt.waiting.leased
            log.exception("an attempt could not be ended", record_id=str(leased.record.record_id))

    async def _carry_out(self, site: Site, attempt: Attempt) -> None:
        leased, egress_path = attempt.waiting.leased, attempt.waiting.egress_path
        try:
            ended = await self._run(site, attempt)
        except (SpoolError, OwnLack) as error:
            await self._settler.broken_off(leased, egress_path, site.name, attempt.known, error)
            return
        except asyncio.CancelledError:
            self._settler.cut_off(leased, egress_path, site.name, attempt.known)
            raise
        except Exception:
            metrics.INTERNAL_ERRORS.inc()
            log.exception("an attempt failed", record_id=str(leased.record.record_id))
            ended = attempt.known
            ended.outcomes = for_all(leased.record, deferred("local error")) | ended.outcomes
        else:
            if not ended.reached:
                site.take_back(attempt.waiting)
                if self._turned_back(site, attempt.waiting):
                    return
            self._judge(site, egress_path, ended)
        await self._settler.attempted(leased, egress_path, ended, site.name)

    def _turned_back(self, site: Site, waiting: WaitingRecord) -> bool:
        """
        Put a record back that got no session, if others make progress at its site; return whether.

        Then there are too many connections, and neither the mail nor the host is at fault.
        """
        now = asyncio.get_running_loop().time()
        works = site.concurrency.works(now, site.pace.patience)
        if self._is_stopping() or not works or waiting.refusals >= _MOST_REFUSALS:
            return False
        site.concurrency.refused(now, site.limiter.connections - 1)
        outdated = waiting.is_outdated(self._context.configuration.current)
        if outdated or not self._context.consumer.serves(waiting.leased):
            self._assigner.begin_again(waiting.leased)
        else:
            site.put_back(waiting)
        return True

    async def _run(self, site: Site, attempt: Attempt) -> AttemptResult:
        record = attempt.waiting.leased.record
        metrics.ATTEMPTS.inc()
        site.concurrency.in_use.add(attempt)
        try:
            with tracing.span(
                "delivery.attempt", parent=record.origin.traceparent, kind="client"
            ) as span:
                ended = await attempt.run()
                if tracing.enabled():
                    queue_id, name = record.record_id.queue_id, attempt.route.site
                    span.set({"postroad.queue_id": queue_id, "postroad.site": name})
                return ended
        finally:
            site.concurrency.in_use.discard(attempt)

    def _judge(self, site: Site, egress_path: EgressPath, ended: AttemptResult) -> None:
        now = asyncio.get_running_loop().time()
        if ended.reached:
            site.downtime.ends()
            site.concurrency.answered(now, site.limiter.limits.connections)
        elif ended.asked or (ended.peers and len(egress_path.sources) < 2):
            # If one of several sources cannot reach the site, the site may still be up.
            reason = next(iter(ended.outcomes.values())).text
            self._parking.pause(site, egress_path, reason, now)
