"""
The other delivery processes, where sites are shared: who still uses sites by an earlier
configuration, and for whom this process waits.

A process that starts knows nothing of the pools before. So it asks whether others have yet to
settle its configuration, or still have claims. Then it shares its sites for a while, as after an
edit.

Until all processes have settled a configuration that lets pools meet, nobody gets more of a shared
site. A process that waits says so in its session, in a metric and, after some seconds, in the log.
The one that does not settle ends when others have waited too long (`delivery.sharing.settled`).
"""

from postroad.delivery import metrics
from postroad.policy.limits.portions import decode
from postroad.spool.agreement import Sessions, SiteKind, SiteRecords
from postroad.spool.errors import SpoolError
from postroad.spool.lanes.owners import owners
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_LATE = 5.0  # seconds; sessions are written every 3 s, and read every 3 s


async def may_use_sites(records: SiteRecords, sessions: Sessions, generation: int) -> bool:
    """
    Whether others may use sites by a configuration before `generation`, the first one here.

    They write their claims before they tell that they have settled, so claims are read last.
    """
    try:
        live = owners(await sessions.live())
        if any(info.settled < generation for info in records.others):
            return True
        news = await records.news(SiteKind.CONNECTIONS)
    except SpoolError as error:
        log.debug("it is unknown what others use", error=str(error))
        return True
    claimants = {claim.owner for record in news for claim in decode(record)[1]}
    return bool(live & claimants - {records.owner})


class Laggards:
    """The processes for which this one waits. Times are seconds by a monotonic clock."""

    def __init__(self, records: SiteRecords) -> None:
        self._records = records
        self._since: dict[str, float] = {}  # by session
        self._named: set[str] = set()

    def look(self, generation: int, now: float) -> None:
        """Wait for all who have not settled a configuration, and name those who are late."""
        behind = {i.session_id: i.process for i in self._records.others if i.settled < generation}
        self._records.await_settled(generation if behind else 0)
        self._since = {session: self._since.get(session, now) for session in behind}
        late = {session for session, since in self._since.items() if now - since >= _LATE}
        for session in late - self._named:
            log.warning(
                "another process has not settled the configuration; sites that pools share wait",
                other_process=behind[session],
                generation=generation,
            )
        if self._named - late:
            log.info("another process has settled the configuration, or has ended")
        self._named = late
        metrics.UNSETTLED.set(len(late))
