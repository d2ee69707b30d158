"""
Parks mail whose site has no room or is down, and brings it back when the site has room.

Parked mail waits in the queue like deferred mail, and becomes ready when it is due. If that is too
late, because the site is faster than before or is up again, the record is claimed and made ready.
Neither is an attempt, so the retry schedule does not advance.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from postroad.delivery import metrics
from postroad.delivery.context import WorkerContext
from postroad.delivery.dispatch.parked import Parked, ParkedMail, SiteKey
from postroad.delivery.dispatch.settler import Settler
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.waiting import WaitingRecord
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.errors import ClaimLost, SpoolError
from postroad.spool.interface import CLAIM_MARGIN, LeasedRecord, Put, Ready
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_AT_ONCE = 64  # records of a site that are claimed concurrently, and are in memory
_SOON = CLAIM_MARGIN.total_seconds()  # a record that is due by then cannot be claimed


class Parking:
    """All parked mail of a process."""

    def __init__(self, context: WorkerContext, settler: Settler, tasks: BackgroundTasks) -> None:
        self._waiting = context.spool.waiting
        self._settler = settler
        self._tasks = tasks
        self._parked = ParkedMail()
        self._recalling: set[SiteKey] = set()

    def park(self, site: Site, waiting: WaitingRecord, now: float) -> None:
        """Park a record for which its site has no room."""
        metrics.PARKED.inc()
        seconds = site.park(waiting.leased.record.traffic_class, now, longest=self._parked.longest)
        # It does not expire without a last try: its site is up, and a hold or we may have delayed
        # it.
        reason = "others are before it at its site"
        self._put_off(site, waiting, now, seconds, reason, expires=False)

    def park_surplus(self, site: Site, now: float) -> None:
        """Park the records that exceed a site's room."""
        for waiting in site.surplus(now):
            self.park(site, waiting, now)

    def suspend(self, site: Site, waiting: WaitingRecord, now: float) -> None:
        """Park a record whose site is down."""
        metrics.SUSPENDED.inc()
        seconds = site.downtime.put_off(
            waiting.leased.record.traffic_class,
            now,
            rate=site.pace.rate(now),
            longest=self._parked.longest,
        )
        reason = f"suspended for a while: {site.downtime.reason}"
        self._put_off(site, waiting, now, seconds, reason)

    def _put_off(
        self,
        site: Site,
        waiting: WaitingRecord,
        now: float,
        seconds: float,
        reason: str,
        *,
        expires: bool = True,
    ) -> None:
        leased = waiting.leased
        record = leased.record
        parked = Parked(record.record_id, record.domain, leased.lane, leased.places, now + seconds)

        def stored() -> None:
            self._parked.add(site.key, record.traffic_class, parked)

        self._settler.put_off(
            leased, waiting.egress_path, site.name, seconds, reason, then=stored, expires=expires
        )

    def came(self, site: Site, leased: LeasedRecord) -> None:
        """Note that a record has come to its site, for the first time or again."""
        self._parked.came(site.key, leased.record.traffic_class, leased.record.record_id)

    def leave(self, lane: str) -> None:
        """Forget the parked records of a lane; its next owner gets them when they are due."""
        self._parked.leave(lane)

    def forget(self, now: float) -> None:
        """Forget records that were due and did not come."""
        self._parked.forget(now)

    def look(self, site: Site) -> None:
        """Bring back mail for which a site has room, unless it is due soon anyway."""
        if site.key in self._recalling or not self._parked.has(site.key):
            return
        now = asyncio.get_running_loop().time()
        places = site.lacks(now, self._parked.coming(site.key, now + _SOON))
        found = self._parked.take(site.key, places, most=_AT_ONCE, after=now + _SOON)
        if found:
            self._recalling.add(site.key)
            self._tasks.spawn(self._recall(site.key, found))

    async def _recall(self, site: SiteKey, found: Sequence[Parked]) -> None:
        try:
            came = await asyncio.gather(*map(self._claim, found))
            metrics.RECALLED.inc(sum(came))
        except SpoolError as error:
            log.debug("mail is not brought back early", site=site[0], error=str(error))
        finally:
            self._recalling.discard(site)

    async def _claim(self, parked: Parked) -> bool:
        """Make a record ready; False if it is ready already, or about to be."""
        queued = await self._waiting.scheduled(
            parked.record_id, domain=parked.domain, lane=parked.lane
        )
        if queued is None:
            return False
        try:
            put = Put(queued.record.next_step(), Ready())
            await self._waiting.claim(queued, [put], datetime.now(UTC))
        except ClaimLost:
            return False
        return True
