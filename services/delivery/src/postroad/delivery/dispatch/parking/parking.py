"""
Parks mail whose site has no room or is down, and brings it back when the site has room.

Parked mail waits in the queue like deferred mail, and becomes ready when it is due. If that is too
late, because the site is faster than before or is up again, the record is claimed and made ready.
Neither is an attempt, so the retry schedule does not advance. Mail that waits for something else
than its site is not parked (see `dispatch.assignment`): nothing would recall it.

A site's mail of one class leaves in the order of its arrival, more or less: parked mail has the
free places before mail that came later. A retry counts as arriving when it is due.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from postroad.delivery import metrics
from postroad.delivery.context import WorkerContext
from postroad.delivery.dispatch.lines import relay_object
from postroad.delivery.dispatch.parking.parked import Parked, ParkedMail, SiteKey
from postroad.delivery.dispatch.settler import Settler
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.waiting import WaitingRecord
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import EgressPath
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.errors import ClaimLost, SpoolError
from postroad.spool.interface import CLAIM_MARGIN, LeasedRecord, Put, Ready
from postroad.spool.lanes.owners import LaneKey
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
        traffic_class, lines = waiting.leased.record.traffic_class, self._parked.at(site.key)
        before = lines.before(traffic_class, _since(waiting)) if lines is not None else 0
        seconds = site.park(traffic_class, now, parked=before, longest=self._parked.longest)
        # It does not expire without a last try: its site is up, and a hold or we may have delayed
        # it.
        reason = "others are before it at its site"
        self._put_off(site, waiting, now, seconds, reason, expires=False)

    def park_surplus(self, site: Site, now: float) -> None:
        """Park the records that exceed a site's room."""
        for waiting in reversed(site.surplus(now)):  # the first first
            self.park(site, waiting, now)

    def pause(self, site: Site, egress_path: EgressPath, reason: str, now: float) -> None:
        """Note that a site is down, and park what waits for it."""
        site.downtime.begins(reason, now, egress_path.retry.first.total_seconds())
        log.info(
            "a site is down; delivery to it pauses",
            site=site.name,
            relay_object=relay_object(egress_path),
            seconds=round(site.downtime.until - now, 1),
            reason=reason,
        )
        for waiting in site.empty():
            self.suspend(site, waiting, now)

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
        parked = Parked(
            record.record_id,
            record.domain,
            leased.lane_key,
            leased.places,
            _since(waiting),
            now + seconds,
        )
        self._parked.add(site.key, record.traffic_class, parked)

        def then(stored: bool) -> None:
            parked.stored = stored
            if not stored:
                self._parked.drop(parked)

        self._settler.put_off(
            leased, waiting.egress_path, site.name, seconds, reason, then=then, expires=expires
        )

    def came(self, leased: LeasedRecord) -> Parked | None:
        """Note that a record is in hand; return what is known of it if it was parked."""
        return self._parked.came(leased.record.record_id)

    def has_room(
        self, site: Site, waiting: WaitingRecord, known: Parked | None, now: float
    ) -> bool:
        """Whether a record may wait at its site; `known` is what `came` returned."""
        traffic_class = waiting.leased.record.traffic_class
        lines = self._parked.at(site.key) if len(self._parked) else None
        if lines is None or (known is not None and known.recalled):
            return site.has_room(traffic_class, now)
        self.look(site)
        most = site.free(traffic_class, now)
        before = lines.places_before(traffic_class, _since(waiting), most=most)
        return site.has_room(traffic_class, now, parked=before, coming=lines.coming)

    def leave(self, lane_key: LaneKey) -> None:
        """Forget a lane's parked records; its next owner gets them when they are due."""
        self._parked.leave(lane_key)

    def forget(self, now: float) -> None:
        """Forget records that were due and did not come."""
        self._parked.forget(now)

    def look(self, site: Site) -> None:
        """Bring back mail for which a site has room, unless it is due soon anyway."""
        lines = self._parked.at(site.key) if len(self._parked) else None
        if lines is None or site.key in self._recalling:
            return
        now = asyncio.get_running_loop().time()
        found: list[Parked] = []
        coming = 0
        for traffic_class in TrafficClass:  # transactional first
            line = lines.of(traffic_class)
            places, few = site.recalls(traffic_class, now)
            places -= coming + line.coming
            found += line.recall(places, few=few, most=_AT_ONCE - len(found), after=now + _SOON)
            coming += line.coming
        if found:
            self._recalling.add(site.key)
            self._tasks.spawn(self._recall(site, found))

    async def _recall(self, site: Site, found: Sequence[Parked]) -> None:
        try:
            came = await asyncio.gather(*map(self._claim, found))
        finally:
            self._recalling.discard(site.key)
        metrics.RECALLED.inc(sum(came))
        if any(came):
            self.look(site)

    async def _claim(self, parked: Parked) -> bool:
        """Make a record ready; if that fails, it is ready, or becomes ready when it is due."""
        try:
            claimed = await self._make_ready(parked)
        except SpoolError as error:
            log.debug("mail is not brought back early", domain=parked.domain, error=str(error))
            claimed = False
        if not claimed:
            self._parked.drop(parked)
        return claimed

    async def _make_ready(self, parked: Parked) -> bool:
        """Make a record ready; False if it is ready already, or about to be."""
        queued = await self._waiting.deferred(
            parked.record_id, domain=parked.domain, lane=parked.lane_key.lane
        )
        if queued is None:
            return False
        try:
            put = Put(queued.record.next_step(), Ready())
            await self._waiting.claim(queued, [put], datetime.now(UTC))
        except ClaimLost:
            return False
        return True


def _since(waiting: WaitingRecord) -> float:
    """
    Return when a record came, in seconds since the epoch.

    That is its arrival, or now if it has been tried: then all that has come meanwhile is before it.
    """
    if waiting.since is None:
        record = waiting.leased.record
        came = record.arrival if record.last_attempt is None else datetime.now(UTC)
        waiting.since = came.timestamp()
    return waiting.since
