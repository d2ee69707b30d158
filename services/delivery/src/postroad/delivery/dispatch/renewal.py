"""
Applies each configuration when it comes into force: to sites, pools, and records that wait.

A record stays in its waiting room if only limits, TLS, login or sources of its egress path have
changed. It leaves the room if it has another egress path or none, or if the path has another pool
or none of its former smarthosts.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from datetime import timedelta

from postroad.delivery.context import WorkerContext
from postroad.delivery.dispatch.dispatcher import SiteDispatcher
from postroad.delivery.routing.egress_paths import EgressPaths, same_hosts
from postroad.delivery.routing.sources import draw
from postroad.delivery.sharing.edits import PoolEdits
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.sites import Sites
from postroad.delivery.sites.total import SiteTotal
from postroad.delivery.sites.waiting import WaitingRecord
from postroad.policy.model import EgressPath
from postroad.policy.snapshot import Snapshot
from postroad.spool.errors import SpoolError
from postroad.spool.interface import LeasedRecord
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

PATIENCE = timedelta(seconds=10)
DOUBT = timedelta(seconds=3)  # longer than an edit takes to come, and than a server lags
_LEAP = 1000  # edits, more than come while a record is on its way
_SHARE = 3  # early records take at most a third of the places
_ASKS_EVERY = 1.0  # seconds


class EarlyRecords:
    """
    Records that a newer configuration accepted or moved than the one in force here.

    Each process reads a configuration at its own moment. By an older one such a record might have
    no route, or go back to the pool that it came from. It waits for the newer one, but no longer
    than `PATIENCE`. Times are seconds.

    It waits in memory, with its lease. The newer configuration mostly comes within milliseconds,
    and to put a record off costs two writes and five seconds at least.

    A record may name a configuration that does not exist: after a restore generations begin anew,
    and who accepts mail may write any number. So a record in doubt leaves as soon as the publisher
    has been heard to know no such generation, after `DOUBT`. `places` is how many may wait.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._waiting: list[tuple[LeasedRecord, float]] = []
        self._passed: dict[int, LeasedRecord] = {}  # they wait no longer
        self._known = 0  # the generation that was published when it was last asked for
        self._asked = float("-inf")

    def concerns(self, leased: LeasedRecord, generation: int) -> bool:
        """Whether a record has to wait for a newer configuration than `generation`."""
        if self._passed.pop(id(leased), None) is not None:
            return False
        newer = leased.record.generation
        return generation < newer <= max(generation, self._known) + _LEAP

    def keep(self, leased: LeasedRecord, now: float) -> bool:
        """Let a record wait that this concerns; return False if too many wait already."""
        if sum(each.places for each, _ in self._waiting) >= self._places:
            return False
        self._waiting.append((leased, now))
        return True

    def in_doubt(self, now: float) -> bool:
        """Whether to ask which generation is published: some record has waited for long."""
        doubt = DOUBT.total_seconds()
        return any(
            now - since >= doubt and self._asked - since < doubt and self._is_unknown(each)
            for each, since in self._waiting
        )

    def hear(self, generation: int, asked: float) -> None:
        """Note which generation is published, as of a question at the time `asked`."""
        self._known, self._asked = generation, asked

    def due(self, generation: int, now: float) -> list[LeasedRecord]:
        """Take out the records that wait no longer."""
        since_when = {id(each): since for each, since in self._waiting}

        def leaves(each: LeasedRecord) -> bool:
            since = since_when[id(each)]
            unreal = self._is_unknown(each) and self._asked - since >= DOUBT.total_seconds()
            late = now - since >= PATIENCE.total_seconds()
            return unreal or late or each.record.generation <= generation

        leaving = self.withdraw(leaves)
        self._passed = {id(each): each for each in leaving}
        return leaving

    def withdraw(self, leaves: Callable[[LeasedRecord], bool]) -> list[LeasedRecord]:
        """Take out the records that leave."""
        leaving = [each for each, _ in self._waiting if leaves(each)]
        if leaving:
            gone = {id(each) for each in leaving}
            self._waiting = [each for each in self._waiting if id(each[0]) not in gone]
        return leaving

    def _is_unknown(self, leased: LeasedRecord) -> bool:
        return leased.record.generation > self._known


class Renewal:
    """
    The configuration that is applied here, and how a newer one takes its place.

    `begin_again` assigns a record, which was removed from a waiting room, to its site again. Until
    then it is kept here: if anything fails meanwhile, nobody else would know of it.
    """

    def __init__(
        self,
        context: WorkerContext,
        sites: Sites,
        pools: PoolEdits,
        dispatcher: SiteDispatcher,
        egress_paths: EgressPaths,
        begin_again: Callable[[LeasedRecord], None],
    ) -> None:
        self._context = context
        self._sites = sites
        self._pools = pools
        self._dispatcher = dispatcher
        self._egress_paths = egress_paths
        self._begin_again = begin_again
        self._heeded: Snapshot | None = None
        self._leaving: deque[LeasedRecord] = deque()
        self.early = EarlyRecords(max(1, context.in_hand // _SHARE))

    async def begin(self, snapshot: Snapshot | None) -> None:
        """Apply the first configuration, before any mail is taken."""
        await self._pools.begin(snapshot)
        self.heed(snapshot)
        await self._pools.tell_first()

    def heed(self, snapshot: Snapshot | None) -> None:
        """Apply a configuration to all mail, also to records that wait at a site."""
        if snapshot is self._heeded:
            return
        for site in self._sites:
            if site.waiting:
                self._leaving += [each.leased for each in self._leave(site, snapshot)]
                if (first := site.first()) is not None:
                    self._sites.go_on(site, first.egress_path)
        meeting = self._apply(snapshot) if snapshot is not None else ()
        for site in self._sites:
            if site.waiting:
                self._dispatcher.pump(site)  # a limit may have been raised
        for total in meeting:
            self._dispatcher.resume(total)  # some of its mail may have gone to another pool
        self._dispatcher.windows.look_again()
        self._heeded = snapshot
        self.go_on()

    def _apply(self, snapshot: Snapshot) -> Collection[SiteTotal[Site]]:
        """Apply pools, smarthosts and limits to all sites; return those that pools share now."""
        paths = [relay.egress_path for relay in snapshot.relays.values()]
        self._context.consumer.know_pools({path.pool for path in paths})
        self._sites.turn({path.name: path for path in paths}, self._context.attempts.pool)
        meeting = self._pools.heed(snapshot, self._sites)
        self._sites.renew({path.name: path.limits for path in paths})
        return meeting

    def is_early(self, leased: LeasedRecord) -> bool:
        """Whether a record has to wait for a newer configuration."""
        return self.early.concerns(leased, self._generation)

    def keep(self, leased: LeasedRecord) -> bool:
        """Let an early record wait; return False if too many wait already."""
        return self.early.keep(leased, asyncio.get_running_loop().time())

    async def ask(self) -> None:
        """Ask which configuration is published whenever a record names one that does not come."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(_ASKS_EVERY)
            asked = clock()
            if not self.early.in_doubt(asked):
                continue
            try:
                last = await self._context.spool.config.last()
            except SpoolError as error:
                log.debug("the published configuration is not known", error=str(error))
                continue
            self.early.hear(last.generation if last is not None else 0, asked)
            self.go_on()

    def go_on(self) -> None:
        """Begin with the records that left a room, or wait for no newer configuration any more."""
        self._leaving += self.early.due(self._generation, asyncio.get_running_loop().time())
        while self._leaving:
            leased = self._leaving.popleft()
            try:
                self._begin_again(leased)
            except Exception:
                self._leaving.append(leased)  # the others go before it
                raise

    def withdraw(self, leaves: Callable[[LeasedRecord], bool]) -> list[LeasedRecord]:
        """Take out the records that leave, of those that are at no site."""
        leaving = [each for each in self._leaving if leaves(each)]
        self._leaving = deque(each for each in self._leaving if not leaves(each))
        return leaving + self.early.withdraw(leaves)

    def forget(self, now: float) -> None:
        """Forget meetings of pools that have ended."""
        self._pools.forget(now)

    @property
    def _generation(self) -> int:
        return self._heeded.generation if self._heeded is not None else 0

    def waiting(
        self, leased: LeasedRecord, egress_path: EgressPath, snapshot: Snapshot | None
    ) -> WaitingRecord:
        """Return a waiting record with its egress path in a configuration, and a source."""
        source, chosen = draw(egress_path.sources), leased.record.chosen_site
        return WaitingRecord(leased, egress_path, snapshot, source, chosen=chosen)

    def _leave(self, site: Site, snapshot: Snapshot | None) -> list[WaitingRecord]:
        """Remove and return the records that must leave a site; update the others."""
        return site.withdraw(lambda each: not self._renew(each, snapshot))

    def _renew(self, waiting: WaitingRecord, snapshot: Snapshot | None) -> bool:
        """Update a waiting record's egress path; return whether it stays in its room."""
        before, now = waiting.egress_path, self._egress_paths.of(snapshot, waiting.leased.record)
        if now is None or not same_room(before, now):
            return False
        if now.sources != before.sources:
            waiting.source = draw(now.sources)
        waiting.egress_path, waiting.snapshot = now, snapshot
        return True


def same_room(one: EgressPath, other: EgressPath) -> bool:
    """Whether mail waits in the same rooms with both egress paths."""
    if one.name != other.name or one.pool != other.pool:
        return False
    return same_hosts(one.smarthosts, other.smarthosts)
