"""
A spool over four connections, one for each NATS user: each call uses the role that makes it.

With it, the contract tests of the queue run against a server that gives each role only its own
permissions.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta

from postroad.spool.agreement import (
    Config,
    ConfigState,
    Events,
    Order,
    Orders,
    PastLogins,
    QuotaCounters,
    SessionInfo,
    Sessions,
    SiteDirectory,
    SiteRecords,
)
from postroad.spool.backlog import Backlog, Counts
from postroad.spool.event import Event, EventType, HistoryPosition
from postroad.spool.ids import RecordId
from postroad.spool.interface import (
    BodyWriter,
    Put,
    QueueBrowser,
    Queued,
    RecordConsumer,
    Spool,
    StoreAck,
)
from postroad.spool.record import QueueRecord
from postroad.spool.selection import Selection

ROLES = ("ingress", "delivery", "operator", "command")


class ByRole:
    """Implements interface.Spool over one spool for each role."""

    def __init__(self, spools: Mapping[str, Spool]) -> None:
        self._all = spools
        self._ingress, self._delivery = spools["ingress"], spools["delivery"]
        self.config: Config = _Config(spools["operator"].config, self._delivery.config)
        self.events: Events = _Events(self._ingress.events, spools["command"].events)
        self.orders: Orders = _Orders(spools["command"].orders, self._delivery.orders)
        self.sessions: Sessions = _Sessions(self._delivery.sessions)
        self.site_records: SiteRecords = self._delivery.site_records
        self.sites: SiteDirectory = self._delivery.sites
        self.usage: QuotaCounters = self._ingress.usage
        self.past_logins: PastLogins = self._ingress.past_logins
        self.waiting: QueueBrowser = _Waiting(
            spools["command"].waiting, self._delivery.waiting, spools["operator"].waiting
        )

    @property
    def as_delivery(self) -> Spool:
        """Delivery's spool."""
        return self._delivery

    @property
    def accepting(self) -> bool:
        """As ingress says."""
        return self._ingress.accepting

    def refusal(self) -> Exception | None:
        """As ingress says."""
        return self._ingress.refusal()

    def new_queue_id(self, now: datetime) -> str:
        """Draw a queue id."""
        return self._ingress.new_queue_id(now)

    def write_body(self, *, lifetime: timedelta, known: bool = True) -> BodyWriter:
        """Begin a body, as ingress does."""
        return self._ingress.write_body(lifetime=lifetime, known=known)

    def read_body(self, record: QueueRecord) -> AsyncIterator[bytes]:
        """Read a body, as delivery does."""
        return self._delivery.read_body(record)

    async def accept(
        self, queue_id: str, compose: Callable[[str], Sequence[Put]], *, timeout: timedelta
    ) -> StoreAck:
        """Store a message, as ingress does."""
        return await self._ingress.accept(queue_id, compose, timeout=timeout)

    def take(self, *, pool: str, room: int, room_bytes: int) -> RecordConsumer:
        """Take records, as delivery does."""
        return self._delivery.take(pool=pool, room=room, room_bytes=room_bytes)

    def lane_of(self, record: QueueRecord) -> str:
        """Return the lane a record belongs in."""
        return self._delivery.lane_of(record)

    async def close(self) -> None:
        """Close all four."""
        for spool in self._all.values():
            await spool.close()


class _Config:
    def __init__(self, publisher: Config, reader: Config) -> None:
        self._publisher, self._reader = publisher, reader

    @property
    def largest_entry(self) -> int:
        return self._publisher.largest_entry

    async def publish(self, entries: Mapping[str, bytes]) -> int:
        return await self._publisher.publish(entries)

    async def last(self) -> ConfigState | None:
        return await self._publisher.last()

    def follow(self) -> AsyncIterator[ConfigState]:
        return self._reader.follow()


class _Events:
    def __init__(self, writer: Events, reader: Events) -> None:
        self._writer, self._reader = writer, reader

    def add(self, event: Event) -> None:
        self._writer.add(event)

    def read(
        self,
        *,
        since: datetime | None = None,
        types: frozenset[EventType] | None = None,
        follow: bool = False,
        position: HistoryPosition | None = None,
    ) -> AsyncIterator[Event]:
        return self._reader.read(since=since, types=types, follow=follow, position=position)


class _Orders:
    def __init__(self, giver: Orders, obeyer: Orders) -> None:
        self._giver, self._obeyer = giver, obeyer

    async def place(self, order: Order) -> None:
        await self._giver.place(order)

    async def withdraw(self, order_id: str) -> bool:
        return await self._giver.withdraw(order_id)

    async def reports(self, order_id: str) -> Mapping[str, int]:
        return await self._giver.reports(order_id)

    def in_force(self, now: datetime) -> Sequence[Order]:
        return self._obeyer.in_force(now)

    async def changed(self) -> None:
        await self._obeyer.changed()

    async def report(self, order_id: str, process: str, affected: int) -> None:
        await self._obeyer.report(order_id, process, affected)


class _Sessions:
    """The deliveries alone: one session for each of these, as with any other spool."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def announce(self, generation: int, *, stale: bool = False) -> None:
        await self._sessions.announce(generation, stale=stale)

    async def live(self) -> Sequence[SessionInfo]:
        return [info for info in await self._sessions.live() if info.role == "delivery"]


class _Waiting:
    def __init__(self, looker: QueueBrowser, claimer: QueueBrowser, counter: QueueBrowser) -> None:
        self._looker, self._claimer, self._counter = looker, claimer, counter

    def list(self, selection: Selection, *, at_once: int | None = None) -> AsyncIterator[Queued]:
        return self._looker.list(selection, at_once=at_once)

    async def deferred(self, record_id: RecordId, *, domain: str, lane: str) -> Queued | None:
        return await self._claimer.deferred(record_id, domain=domain, lane=lane)

    async def counts(self) -> Counts:
        return await self._looker.counts()

    async def backlog(self) -> Backlog:
        return await self._counter.backlog()

    async def claim(self, queued: Queued, puts: Sequence[Put], now: datetime) -> None:
        await self._claimer.claim(queued, puts, now)
