"""A site that two pools send to, each from a process of its own, with the queue in memory."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from postroad.delivery.app import end_when_overdue
from postroad.delivery.dispatch.worker import Worker
from postroad.dns.resolver import Resolver
from postroad.policy.limits.portions import Claim, decode
from postroad.policy.model import EgressPath, RetrySchedule, SiteLimits, Smarthost, TlsMode
from postroad.process.lifecycle import Process
from postroad.spool.agreement import SiteKind
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.event import EventType
from postroad.spool.memory.agreement import MemorySiteRecords
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.testing.peers.dns_server import Table, Zone
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send

TABLE: Table = {
    "a.test": ["MX 10 mx.big.test."],
    "b.test": ["MX 10 mx.big.test."],
    "mx.big.test": ["A 127.0.0.1"],
}
SITE = "mx.big.test"
POOLS = {"a.test": "default", "b.test": "bulk"}


def way(domain: str, limits: SiteLimits, pool: str) -> EgressPath:
    return EgressPath(
        f"relay:shop/{domain}",
        tls=TlsMode.NONE,
        pool=pool,
        retry=RetrySchedule(first=timedelta(hours=1)),
        limits=limits,
    )


class Timed:
    """A host that takes note of when it was sent what."""

    def __init__(self, **more: float) -> None:
        self.mx = ScriptedMx(self._hear, **more)  # type: ignore[arg-type]
        self.ends: list[float] = []

    def _hear(self, line: bytes, count: int) -> None:
        if line == b".":
            self.ends.append(time.monotonic())

    def most_within(self, seconds: float) -> int:
        """Return the most messages that ended in any window of so many seconds."""
        return max(sum(at <= end < at + seconds for end in self.ends) for at in self.ends)


class _Counted(MemorySiteRecords):
    """Counts changes of records."""

    def __init__(self, two: "TwoPools", spool: MemorySpool) -> None:
        store = two.cluster.store
        owner = spool.site_records.owner
        super().__init__(two.cluster.agreement, owner, is_full=lambda: store.full)
        self._two = two

    async def change(self, kind: SiteKind, *args: Any, **more: Any) -> None:
        if self.owner in self._two.mute:
            raise SpoolUnavailable("the record cannot be changed in time")
        self._two.changes += kind is SiteKind.CONNECTIONS
        await super().change(kind, *args, **more)


@asynccontextmanager
async def _ending_when_overdue(worker: Worker, process: AsyncExitStack) -> AsyncIterator[None]:
    """End a process as `delivery.app` does, when it keeps others waiting."""
    life = Process("delivery", "tests", drain_timeout=timedelta(seconds=1), quiet=True)
    watching = life.spawn("settled configuration", end_when_overdue(life, worker))

    async def end() -> None:
        await life.until_stopping()
        await process.aclose()

    ending = asyncio.create_task(end())
    try:
        yield
    finally:
        if not life.stopping:
            ending.cancel()
        watching.cancel()
        await asyncio.wait([ending, watching])


class TwoPools:
    """A cluster in memory; `running` is a delivery process of a pool."""

    def __init__(
        self,
        mx: ScriptedMx,
        limits: SiteLimits,
        pools: Mapping[str, str],
        *,
        smarthost: bool = False,
    ) -> None:
        self._mx = mx
        self._pools = pools
        self._limits = limits
        self._smarthost = smarthost
        self._egress_paths: dict[str, EgressPath] = {}
        self._stack = AsyncExitStack()
        self.changes = 0  # of records of connections
        self.mute: set[str] = set()  # owners that can change no record
        self.owners: dict[str, str] = {}  # the last process of each pool, as its records name it
        self.cluster = MemoryCluster()
        self._outside = MemorySpool(self.cluster, role="command")

    async def __aenter__(self) -> "TwoPools":
        await self._stack.enter_async_context(self._mx)
        self._zone = await self._stack.enter_async_context(Zone(TABLE))
        await self.edit()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def publish(self, *pools: str) -> None:
        """Bring the Relays of these pools into force."""
        egress_paths = self._egress_paths.items()
        now = {domain.replace(".", "_"): way for domain, way in egress_paths if way.pool in pools}
        await publish(self._outside, **now)

    async def edit(
        self,
        limits: SiteLimits | None = None,
        pools: Mapping[str, str] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Bring all Relays into force with other limits, or other pools, some with other names."""
        self._limits = limits or self._limits
        self._pools = pools or self._pools
        paths = {
            domain: self._path(domain, self._limits, pool) for domain, pool in self._pools.items()
        }
        renamed = {
            domain: replace(paths[domain], name=name) for domain, name in (names or {}).items()
        }
        self._egress_paths = paths | renamed
        await self.publish(*self._pools.values())

    def _path(self, domain: str, limits: SiteLimits, pool: str) -> EgressPath:
        path = way(domain, limits, pool)
        if not self._smarthost:
            return path
        return replace(path, smarthosts=(Smarthost("127.0.0.1", self._mx.port),))

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What is claimed of the site."""
        record = self.cluster.agreement.site_records.get((SiteKind.CONNECTIONS, SITE), b"")
        return decode(record)[1]

    async def send(self, domain: str, count: int, **more: object) -> None:
        """Queue so many messages, where ingress would put them unless `more` says otherwise."""
        to = (f"{number}@{domain}" for number in range(count))
        await send(self._outside, *to, **({"pool": self._pools[domain]} | more))

    async def start(self, pool: str) -> AsyncExitStack:
        """Start a delivery process, which ends with the cluster unless it is ended before."""
        spool = MemorySpool(self.cluster, pool=pool)
        spool.site_records = _Counted(self, spool)
        self.owners[pool] = spool.site_records.owner
        process = AsyncExitStack()
        resolver = Resolver(self._zone.address)
        running = delivering(spool, resolver=resolver, port=self._mx.port, pool=pool, finish=0.5)
        process.push_async_callback(spool.close)
        worker, _ = await process.enter_async_context(running)
        await self._stack.enter_async_context(process)
        await self._stack.enter_async_context(_ending_when_overdue(worker, process))
        return process

    async def delivered(self, count: int) -> Counter[str]:
        """Wait for so many deliveries; return how many there were of each domain."""
        events = await history(self._outside, EventType.DELIVERY, count)
        return Counter(event.domain for event in events)

    def so_far(self) -> Counter[str]:
        """Return how many deliveries there were of each domain."""
        events = self.cluster.agreement.events
        return Counter(each.domain for each in events if each.type is EventType.DELIVERY)
