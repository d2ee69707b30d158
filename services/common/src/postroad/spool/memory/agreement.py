"""The shared state of a cluster of memory spools; `spool.agreement` describes each part."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from postroad.spool.agreement import ConfigState, Order, SessionInfo, SiteKind, SiteView
from postroad.spool.errors import SpoolFull
from postroad.spool.event import Event, EventType, HistoryPosition
from postroad.spool.wire.payload import LARGEST_VALUE


class Bell:
    """Wakes all waiting tasks each time it is rung."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake every waiter."""
        self._event.set()
        self._event = asyncio.Event()

    async def rung(self) -> None:
        """Wait for the next ring."""
        await self._event.wait()


@dataclass
class Agreement:
    """The state behind the classes below; there is one for each cluster."""

    config: ConfigState | None = None
    config_bell: Bell = field(default_factory=Bell)
    orders: dict[str, Order] = field(default_factory=dict)
    order_reports: dict[str, dict[str, int]] = field(default_factory=dict)
    orders_bell: Bell = field(default_factory=Bell)
    sites: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, SessionInfo] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    not_final: dict[str, datetime] = field(default_factory=dict)
    past_logins: set[str] = field(default_factory=set)
    site_records: dict[tuple[SiteKind, str], bytes] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    events_bell: Bell = field(default_factory=Bell)
    losses: int = 0  # how often `lose_memory` was called

    def lose_memory(self) -> None:
        """Lose the records that real servers keep in their memory."""
        self.losses += 1
        for kind, name in list(self.site_records):
            if kind is not SiteKind.WINDOW:
                del self.site_records[kind, name]


class MemoryConfig:
    """Implements agreement.Config."""

    def __init__(self, agreement: Agreement) -> None:
        self._shared = agreement

    @property
    def largest_entry(self) -> int:
        """The octets of the largest entry, as with Postroad's own NATS servers."""
        return LARGEST_VALUE

    async def publish(self, entries: Mapping[str, bytes]) -> int:
        """Put the entries in force, in a new generation if they have changed."""
        current = self._shared.config
        if current is not None and dict(current.entries) == dict(entries):
            return current.generation
        generation = current.generation + 1 if current else 1
        self._shared.config = ConfigState(generation, dict(entries))
        self._shared.config_bell.ring()
        return generation

    async def last(self) -> ConfigState | None:
        """Return the state in force."""
        return self._shared.config

    async def follow(self) -> AsyncIterator[ConfigState]:
        """Yield the state in force and each one after it."""
        seen = 0
        while True:
            state = self._shared.config
            if state is not None and state.generation != seen:
                seen = state.generation
                yield state
            else:
                await self._shared.config_bell.rung()


class MemoryOrders:
    """Implements agreement.Orders."""

    def __init__(self, agreement: Agreement, clock: Callable[[], datetime]) -> None:
        self._shared = agreement
        self._clock = clock

    async def place(self, order: Order) -> None:
        """Put an order in force."""
        self._shared.orders[order.order_id] = replace(order, stored=self._clock())
        self._shared.orders_bell.ring()

    async def withdraw(self, order_id: str) -> bool:
        """End an order early."""
        known = self._shared.orders.pop(order_id, None) is not None
        self._shared.orders_bell.ring()
        return known

    def in_force(self, now: datetime) -> Sequence[Order]:
        """Return the orders in force, oldest first."""
        live = [order for order in self._shared.orders.values() if order.until > now]
        return sorted(live, key=lambda order: order.placed)

    async def changed(self) -> None:
        """Wait for a change."""
        await self._shared.orders_bell.rung()

    async def report(self, order_id: str, process: str, affected: int) -> None:
        """Report how many records a process has changed."""
        self._shared.order_reports.setdefault(order_id, {})[process] = affected

    async def reports(self, order_id: str) -> Mapping[str, int]:
        """Return the reports on an order, by process."""
        return dict(self._shared.order_reports.get(order_id, {}))


class MemorySiteDirectory:
    """Implements agreement.SiteDirectory."""

    def __init__(self, agreement: Agreement) -> None:
        self._shared = agreement

    def lookup(self, domain: str) -> str:
        """Return the site of a domain, or ""."""
        return self._shared.sites.get(domain, "")

    async def learn(self, domain: str, site: str) -> None:
        """Store a domain's site."""
        self._shared.sites[domain] = site


class MemorySessions:
    """Implements agreement.Sessions; `end` stands for a crash or a stop."""

    def __init__(self, agreement: Agreement, info: SessionInfo) -> None:
        self._shared = agreement
        self._info = info
        agreement.sessions[info.session_id] = info

    async def announce(self, generation: int, *, stale: bool = False) -> None:
        """Tell which configuration generation is in force here."""
        info = self._shared.sessions.get(self._info.session_id, self._info)
        self._info = replace(info, generation=generation, stale=stale)
        self._shared.sessions[self._info.session_id] = self._info

    async def live(self) -> Sequence[SessionInfo]:
        """Return every live session."""
        return list(self._shared.sessions.values())

    def end(self) -> None:
        """End the session."""
        self._shared.sessions.pop(self._info.session_id, None)


class MemoryQuotaCounters:
    """Implements agreement.QuotaCounters. A window is part of its key, so nothing need expire."""

    def __init__(self, agreement: Agreement) -> None:
        self._shared = agreement

    async def lease(
        self,
        key: str,
        *,
        amount: int,
        maximum: int,
        since: datetime,
        expires: datetime,
        needed: int = 0,
        final: bool = True,
    ) -> int:
        """Lease what is left, up to `amount`."""
        used = self._shared.usage.get(key, 0)
        granted = max(0, min(amount, maximum - used))
        if granted < needed:
            return 0
        if not final:
            self._shared.not_final[key] = datetime.now(UTC)
        self._shared.usage[key] = used + granted
        return granted

    async def give_back(self, key: str, amount: int, *, since: datetime) -> None:
        """Give back an amount that was not spent."""
        self._shared.usage[key] = max(0, self._shared.usage.get(key, 0) - amount)

    async def spent(
        self, key: str, *, amount: int, maximum: int, since: datetime, quiet: timedelta
    ) -> bool:
        """Whether too little is left, and nothing will be given back."""
        last = self._shared.not_final.get(key)
        is_quiet = last is None or datetime.now(UTC) - last >= quiet
        return is_quiet and self._shared.usage.get(key, 0) + amount > maximum

    async def used(self, key: str, *, since: datetime) -> int:
        """Return what is leased or spent."""
        return self._shared.usage.get(key, 0)

    async def all(self, since: Callable[[str], datetime | None]) -> AsyncIterator[tuple[str, int]]:
        """Yield each key with what is leased or spent, of those that `since` knows."""
        for key, used in [each for each in self._shared.usage.items() if since(each[0])]:
            yield key, used


class MemoryPastLogins:
    """Implements agreement.PastLogins. Notes do not expire."""

    def __init__(self, agreement: Agreement) -> None:
        self._shared = agreement

    def note(self, key: str) -> None:
        """Write a note."""
        self._shared.past_logins.add(key)

    async def noted(self, key: str) -> bool:
        """Whether there is a note."""
        return key in self._shared.past_logins


class MemorySiteRecords:
    """Implements agreement.SiteRecords. Records do not expire, and `news` returns all of them."""

    def __init__(self, agreement: Agreement, session_id: str, is_full: Callable[[], bool]) -> None:
        self._shared = agreement
        self._session_id = session_id
        self._is_full = is_full
        self.hears_others = True  # tests set it

    @property
    def owner(self) -> str:
        """This process's session."""
        return self._session_id

    @property
    def losses(self) -> int:
        """How often the records were lost."""
        return self._shared.losses

    @property
    def others(self) -> Sequence[SessionInfo]:
        """The other delivery processes."""
        sessions = self._shared.sessions.values()
        others = (info for info in sessions if info.session_id != self._session_id)
        return [info for info in others if info.role == "delivery"]

    def lives(self, owner: str) -> bool:
        """Whether a session exists."""
        return owner in self._shared.sessions

    async def change(
        self,
        kind: SiteKind,
        name: str,
        decide: Callable[[SiteView], bytes],
        *,
        lifetime: timedelta,
    ) -> None:
        """Replace a record by the result of `decide`."""
        if kind is SiteKind.WINDOW and self._is_full():
            raise SpoolFull("storage is full")
        key = kind, name
        record = self._shared.site_records.get(key, b"")
        sessions = self._shared.sessions
        settled = min((info.settled for info in self.others), default=sys.maxsize)
        view = SiteView(record, frozenset(sessions), True, settled)
        self._shared.site_records[key] = decide(view)

    async def settle(self, generation: int, *, now: bool) -> None:
        """Tell the others that this process has settled a configuration."""
        info = self._shared.sessions[self._session_id]
        self._shared.sessions[self._session_id] = replace(info, settled=generation)

    def await_settled(self, generation: int) -> None:
        """Tell the others that this process waits until they have settled a configuration."""
        info = self._shared.sessions[self._session_id]
        self._shared.sessions[self._session_id] = replace(info, awaits=generation)

    async def news(self, kind: SiteKind) -> Sequence[bytes]:
        """Return the records of a kind."""
        records = self._shared.site_records.items()
        return [record for (each, _), record in records if each is kind]


class MemoryEvents:
    """Implements agreement.Events."""

    def __init__(self, agreement: Agreement) -> None:
        self._shared = agreement

    def add(self, event: Event) -> None:
        """Write an event."""
        self._shared.events.append(event)
        self._shared.events_bell.ring()

    async def read(
        self,
        *,
        since: datetime | None = None,
        types: frozenset[EventType] | None = None,
        follow: bool = False,
        position: HistoryPosition | None = None,
    ) -> AsyncIterator[Event]:
        """Yield events in order; with `follow`, go on with new ones."""
        position, events = position or HistoryPosition(), self._shared.events
        while True:
            while position.after < len(events):
                event, position.after = events[position.after], position.after + 1
                if (since is None or event.at >= since) and (types is None or event.type in types):
                    yield event
            if not follow:
                return
            await self._shared.events_bell.rung()
