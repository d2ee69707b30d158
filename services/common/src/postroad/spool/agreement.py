"""
The state that the cluster shares besides the mail itself: the configuration in force, orders on the
queue, the live processes, the sites of domains, the use of quotas, past logins, and the history of
mail.

Every process sees the same state, at most a moment later. `spool.interface` has the mail.
"""

import hashlib
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from postroad.spool.event import Event, EventType, HistoryPosition
from postroad.spool.record import QueuedRecipient
from postroad.spool.selection import Selection

ENDING = frozenset({"bounce", "delete"})  # orders that end mail


@dataclass(frozen=True, slots=True)
class Order:
    """
    An operator's order to the whole cluster, in force until `until`.

    It applies to mail that arrived before `cutoff`; None means all mail. `placed` is by the clock
    of the operator's machine. `stored` is when the queue stored the order, by the clock that also
    stamps records.
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
        """When it came into force, by the servers' clock if that is known."""
        return self.stored or self.placed

    @property
    def said(self) -> str:
        """The reason for the history, "by order" if the operator gave none."""
        return self.reason or "by order"

    def acts_on(self, recipient: QueuedRecipient) -> bool:
        """
        Whether the order acts on a pending recipient of a record that its selection admits.

        An order that ends mail acts only on the recipients that the selection names. All other
        orders move the whole record, so they act on every recipient in it.
        """
        return self.action not in ENDING or self.selection.names(recipient)


class Orders(Protocol):
    """Operators' orders, seen by every process, also by one that starts later."""

    async def place(self, order: Order) -> None:
        """Put an order in force everywhere."""

    async def withdraw(self, order_id: str) -> bool:
        """End an order early; False when there is none."""

    def in_force(self, now: datetime) -> Sequence[Order]:
        """Return the orders this process knows to be in force, oldest first."""

    async def changed(self) -> None:
        """Wait until an order was placed or withdrawn."""

    async def report(self, order_id: str, process: str, affected: int) -> None:
        """Report how many records this process has changed by an order so far."""

    async def reports(self, order_id: str) -> Mapping[str, int]:
        """Return the reports on an order, by process."""


class SiteDirectory(Protocol):
    """The site directory: the site of each domain, which its MX hosts determine."""

    def lookup(self, domain: str) -> str:
        """Return the last known site of a domain, "" when none is known."""

    async def learn(self, domain: str, site: str) -> None:
        """Store a domain's site for the whole cluster; cheap when it is stored already."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A process of the cluster, as its session tells it to the others."""

    session_id: str
    role: str  # ingress, delivery
    process: str  # host and process name, for people
    pool: str
    generation: int
    started: datetime
    taking: bool = False  # delivers mail, and so may own lanes
    full: bool = False  # refuses new mail, because the queue's storage is nearly full
    unserved: tuple[str, ...] = ()  # pools in which it found mail, but no process
    stale: bool = False  # cannot read some object of that generation
    left_open: tuple[tuple[str, int], ...] = ()  # connections in use at sites of lanes it left
    # The last configuration that it has settled: what it uses of shared sites is in their records.
    settled: int = sys.maxsize
    awaits: int = 0  # the configuration that others must settle before it uses more of shared sites
    memory: str = ""  # name of the servers' memory that has all its claims; "" if that is unsure
    refusing: tuple[tuple[str, str], ...] = ()  # streams that take no records from it, and why
    features: tuple[str, ...] = ()  # what it knows of how mail is stored, beyond the first release


class Sessions(Protocol):
    """The live processes. A session that is not renewed for 18 s has ended."""

    async def announce(self, generation: int, *, stale: bool = False) -> None:
        """
        Tell the cluster which configuration generation this process has in force.

        `stale` says that it cannot read some object of it. Then its lanes go to other processes
        that can.
        """

    async def live(self) -> Sequence[SessionInfo]:
        """Return every live session."""


class QuotaCounters(Protocol):
    """
    Quota usage: slices leased from a window's allowance, exact for the whole cluster.

    A key is for one window. Nobody counted for it before `since`: what is older does not count.
    """

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
        """
        Lease up to `amount` of what is left of `maximum` under `key`; return what was granted.

        Grants nothing when less than `needed` is left. A lease that is not `final` may be given
        back.
        """

    async def give_back(self, key: str, amount: int, *, since: datetime) -> None:
        """Give back an amount that was leased and not spent."""

    async def spent(
        self, key: str, *, amount: int, maximum: int, since: datetime, quiet: timedelta
    ) -> bool:
        """
        Whether `amount` is more than is left of `maximum` under `key`, and will stay so.

        It is not certain to stay so while the last lease that is not final is younger than `quiet`.
        """

    async def used(self, key: str, *, since: datetime) -> int:
        """Return what is leased or spent under a key."""

    def all(self, since: Callable[[str], datetime | None]) -> AsyncIterator[tuple[str, int]]:
        """Yield each key that has a `since`, with what is used; very long keys are left out."""


class PastLogins(Protocol):
    """
    Which clients have logged in: a note for each, kept for 30 days after it was last written.

    Keys are hexadecimal digests, whose meaning is up to the caller.
    """

    def note(self, key: str) -> None:
        """Write a note soon, unless there is a recent one; never waits, never fails."""

    async def noted(self, key: str) -> bool:
        """Whether there is a note; only reads. Raises SpoolUnavailable."""


class SiteKind(StrEnum):
    """What a record of a site is about."""

    CONNECTIONS = "connections"  # the connections that several processes claim
    MESSAGES = "messages"  # the messages that several processes have begun
    WINDOW = "window"  # the messages that successive owners have begun; kept on disk


@dataclass(frozen=True, slots=True)
class SiteView:
    """
    The current record of a site, b"" when there is none, and the processes whose claims count.

    `certain` is false after the servers have lost the record, until every live process has had time
    to write its part again. `settled` is the last configuration that all other processes that take
    mail have settled: the record has what they used before.
    """

    record: bytes
    live: frozenset[str]
    certain: bool
    settled: int = sys.maxsize


class SiteRecords(Protocol):
    """
    Records that the processes sending to one site share, changed by compare-and-set.

    Their content is up to the caller. All methods raise SpoolUnavailable; `change` of a WINDOW also
    raises SpoolFull.
    """

    @property
    def owner(self) -> str:
        """This process's name in records: its session."""

    @property
    def losses(self) -> int:
        """How often the records were lost; after each loss, claims must be written again."""

    @property
    def others(self) -> Sequence[SessionInfo]:
        """The other processes that take mail, when the sessions were last read."""

    @property
    def hears_others(self) -> bool:
        """Whether that was seconds ago; if not, `others` may be anything by now."""

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
        Replace a record by the result of `decide`, which is called again after a conflict.

        The record expires `lifetime` after its last write. With SpoolUnavailable it is unknown
        whether it was written.
        """

    async def news(self, kind: SiteKind) -> Sequence[bytes]:
        """Return the records of a kind that were written since the last call."""

    async def settle(self, generation: int, *, now: bool) -> None:
        """
        Tell the others that this process has settled a configuration.

        With `now` at once, otherwise with the next renewal of its session.
        """

    def await_settled(self, generation: int) -> None:
        """
        Tell the others that this process waits until they have settled a configuration; 0: none.

        They know it after the next renewal of its session.
        """


@dataclass(frozen=True, slots=True)
class ConfigState:
    """The published configuration: complete, and of one generation."""

    generation: int
    entries: Mapping[str, bytes]


class Config(Protocol):
    """The compiled configuration: one entry for each object, and a head that commits them."""

    @property
    def largest_entry(self) -> int:
        """The octets of the largest entry that can be published."""

    async def publish(self, entries: Mapping[str, bytes]) -> int:
        """
        Write changed entries, remove missing ones, then write the head; return its generation.

        RecordTooLarge names the entries that are too large; then nothing is written.
        """

    async def last(self) -> ConfigState | None:
        """Return the entries of now, even if a publication is incomplete; None before the first."""

    def follow(self) -> AsyncIterator[ConfigState]:
        """Yield each complete state as it comes into force; skip incomplete publications."""


class Events(Protocol):
    """The history of mail: written in small batches, read from any point in time."""

    def add(self, event: Event) -> None:
        """Write an event within 100 ms; never waits or fails; counts events that it drops."""

    def read(
        self,
        *,
        since: datetime | None = None,
        types: frozenset[EventType] | None = None,
        follow: bool = False,
        position: HistoryPosition | None = None,
    ) -> AsyncIterator[Event]:
        """Yield stored events in order, from `position` on; with `follow`, new ones too."""


def named_site(*parts: str) -> str:
    """Return a short hash of a site, or of a part of it, for sessions, which are written often."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
