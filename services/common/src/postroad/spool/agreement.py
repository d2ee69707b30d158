"""
What the cluster agrees on besides the mail itself: the configuration in force, orders on the queue,
who is alive, which site a domain's mail goes to, what quotas have left, who has logged in,
and the history of mail.

Every process sees the same of each, a moment later at most. `spool.interface` has the mail.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from postroad.spool.event import Event, EventType
from postroad.spool.record import QueuedRecipient
from postroad.spool.selection import Selection

ENDING = frozenset({"bounce", "delete"})  # orders that end mail for good


@dataclass(frozen=True, slots=True)
class Order:
    """
    A person's order to the whole cluster, in force until `until`.

    It means mail that arrived before `cutoff`, unless that is None. `placed` is by the clock of the
    person's machine; `stored` is when the queue stored it, by the clock that stamps records too.
    """

    order_id: str
    action: str  # retry, hold, release, bounce, delete, suspend
    selection: Selection
    placed: datetime
    until: datetime
    cutoff: datetime | None
    reason: str = ""
    stored: datetime | None = field(default=None, compare=False)

    @property
    def since(self) -> datetime:
        """Since when it is in force, by the servers' clock if that is known."""
        return self.stored or self.placed

    @property
    def said(self) -> str:
        """The reason as the history tells it, also where the person gave none."""
        return self.reason or "by order"

    def acts_on(self, recipient: QueuedRecipient) -> bool:
        """
        Whether the order acts on a pending recipient of a record that its selection admits.

        What ends mail ends it for the recipients that are named, and for nobody else. All other
        orders move the record, so they act on whoever is in it.
        """
        return self.action not in ENDING or self.selection.names(recipient)


class Orders(Protocol):
    """Admin orders, seen by every process, also by one that is born later."""

    async def place(self, order: Order) -> None:
        """Put an order in force everywhere."""

    async def withdraw(self, order_id: str) -> bool:
        """End an order early; False when there is none."""

    def in_force(self, now: datetime) -> Sequence[Order]:
        """Return the orders this process knows to be in force, oldest first."""

    async def changed(self) -> None:
        """Wait until an order was placed or withdrawn."""

    async def report(self, order_id: str, process: str, affected: int) -> None:
        """Tell how many records this process has changed by an order so far."""

    async def reports(self, order_id: str) -> Mapping[str, int]:
        """Return what the processes have told of an order, by process."""


class SiteDirectory(Protocol):
    """The site directory: which site a domain's MX hosts roll up to."""

    def lookup(self, domain: str) -> str:
        """Return the site last learnt for a domain, "" when none is known."""

    async def learn(self, domain: str, site: str) -> None:
        """Remember a domain's site for the whole cluster; cheap when it is known already."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A process of the cluster: its role, its pool, the configuration generation in force."""

    session_id: str
    role: str  # ingress, delivery
    process: str  # host and process name, for people
    pool: str
    generation: int
    started: datetime
    taking: bool = False  # delivers mail, and so may own lanes
    full: bool = False  # would refuse new mail, as the queue's storage is nearly full
    unserved: tuple[str, ...] = ()  # pools that it found mail in, and no process of their own
    stale: bool = False  # cannot read some object of that generation
    left_open: tuple[tuple[str, int], ...] = ()  # connections in use where lanes were left
    memory: str = ""  # of the servers, that holds all it has claimed; "" when one may not


class Sessions(Protocol):
    """Who is alive. A session not renewed for 18 s is gone."""

    async def announce(self, generation: int, *, stale: bool = False) -> None:
        """
        Tell the cluster which configuration generation this process has in force.

        `stale`: it cannot read some object of it. Then others have its lanes, if they can.
        """

    async def live(self) -> Sequence[SessionInfo]:
        """Return every live session."""


class QuotaCounters(Protocol):
    """Quota usage: slices leased from a window's allowance, exact for the whole cluster."""

    async def lease(
        self,
        key: str,
        *,
        amount: int,
        maximum: int,
        expires: datetime,
        needed: int = 0,
        final: bool = True,
    ) -> int:
        """
        Take up to `amount` of what `maximum` leaves under `key`; return what was granted.

        Nothing when less than `needed` is left. What is not `final` may be given back.
        """

    async def give_back(self, key: str, amount: int) -> None:
        """Return what was leased and not spent."""

    async def spent(self, key: str, *, amount: int, maximum: int, quiet: timedelta) -> bool:
        """
        Whether `amount` is more than `maximum` leaves under `key`, and will stay so.

        It may not, while what is not final was leased less than `quiet` ago.
        """

    async def used(self, key: str) -> int:
        """Return what is leased or spent under a key."""

    def all(self) -> AsyncIterator[tuple[str, int]]:
        """Yield each key with what is leased or spent under it; very long keys are left out."""


class PastLogins(Protocol):
    """
    Which clients have logged in: a note for each, kept for 30 days after it was last written.

    Keys are hexadecimal digests; what they are of, those know who write them.
    """

    def note(self, key: str) -> None:
        """Write a note soon, unless there is a recent one; never waits, never fails."""

    async def noted(self, key: str) -> bool:
        """Whether a note stands; only reads. SpoolUnavailable when nobody can tell."""


class SiteKind(StrEnum):
    """What a record of a site is about."""

    CONNECTIONS = "connections"  # what several processes have of them
    MESSAGES = "messages"  # what several processes have begun
    WINDOW = "window"  # what one after the other has begun for one egress path; kept on disk


@dataclass(frozen=True, slots=True)
class SiteView:
    """
    A record of a site as it stands, b"" when there is none, and whose claims in it count.

    `certain`: it has all that was written. The servers may have lost it, and not everybody who
    lives may have written his part again.
    """

    record: bytes
    live: frozenset[str]
    certain: bool


class SiteRecords(Protocol):
    """
    What the processes that send to one site have agreed on: records changed by compare and set.

    What they mean, those know who write them. All raise SpoolUnavailable; `change` of a WINDOW also
    SpoolFull.
    """

    @property
    def owner(self) -> str:
        """This process's name in records: its session."""

    @property
    def losses(self) -> int:
        """How often the records were seen to be lost; what is claimed is to be written again."""

    def lives(self, owner: str) -> bool:
        """Whether an owner was alive at the last look, some seconds ago."""

    async def change(
        self,
        kind: SiteKind,
        name: str,
        decide: Callable[[SiteView], bytes],
        *,
        lifetime: timedelta,
    ) -> None:
        """
        Bring a record to what `decide` makes of it; asked again when somebody was faster.

        It is forgotten `lifetime` after it was written last. SpoolUnavailable leaves open whether
        it was written.
        """

    async def news(self, kind: SiteKind) -> Sequence[bytes]:
        """Return the records of a kind that were written since this was asked before."""


@dataclass(frozen=True, slots=True)
class ConfigState:
    """The published configuration as a process holds it: complete, and of one generation."""

    generation: int
    entries: Mapping[str, bytes]


class Config(Protocol):
    """The compiled configuration: one entry for each object, and a head that commits them."""

    @property
    def largest_entry(self) -> int:
        """The octets of the largest entry that can be published."""

    async def publish(self, entries: Mapping[str, bytes]) -> int:
        """
        Write what differs, remove what is gone, then the head; return its generation.

        RecordTooLarge names the entries that are too large: nothing is written.
        """

    async def last(self) -> ConfigState | None:
        """Return every entry as it stands, None before the first; also of one half published."""

    def follow(self) -> AsyncIterator[ConfigState]:
        """Yield each complete state as it comes into force; nothing while it is half published."""


class Events(Protocol):
    """The history of mail: written in small batches, read from any time on."""

    def add(self, event: Event) -> None:
        """Write an event soon (100 ms at most); never waits, never fails, drops with a counter."""

    def read(
        self,
        *,
        since: datetime | None = None,
        types: frozenset[EventType] | None = None,
        follow: bool = False,
    ) -> AsyncIterator[Event]:
        """Yield stored events in order; with `follow`, go on with those to come."""


def named_site(*parts: str) -> str:
    """Return a short name of a site, or of a part of it, which sessions tell every few seconds."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
