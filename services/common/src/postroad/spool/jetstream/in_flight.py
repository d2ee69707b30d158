"""
The table of records in hand, by stream, shard and sequence. No I/O; the clock is an argument.

A message of the queue is one record, or a pack of several. Its records have one lease and one reply
subject together, and it is acknowledged when all of them have ended. So the table has the messages,
with the records of each that have not ended, and the records in hand.

A message may come again while it is in hand, or shortly after it was finished: when nats-server
restarts, its in-memory consumer is lost, and an acknowledgement may be lost. Its records are not
attempted twice. The new reply subject replaces the old one, and a finished message is acknowledged
again through it. If a record of it was dropped, only that one is attempted again.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeVar

from postroad.spool.lanes.keys import Key

T = TypeVar("T")

_REMEMBERED = 20_000  # finished records that are remembered, a few minutes at full speed


class Arrival(Enum):
    """Whether this process knows a message that came."""

    NEW = auto()
    IN_HAND = auto()  # the new lease replaces the old one
    FINISHED = auto()  # acknowledge it again, through the new reply subject


@dataclass(slots=True)
class LeasedMessage:
    """
    A message in hand: where to acknowledge it, and when its lease was last confirmed.

    `all` has its records, by their part of a pack, and `left` those that have not ended.
    `dropped` has those of them that are attempted only when the message has come again.
    """

    key: Key
    reply: str
    confirmed: float  # seconds, by a monotonic clock
    all: frozenset[int] = frozenset({0})
    left: set[int] = field(default_factory=lambda: {0})
    in_hand: int = 0  # records
    dropped: set[int] = field(default_factory=set)
    returns_after: float | None = None  # seconds, if records of a pack were given back


@dataclass(slots=True)
class InFlightEntry(Generic[T]):
    """A record in hand, the lease of its message, and its places."""

    key: Key
    lease: LeasedMessage
    places: int
    leased: T
    line: Hashable = None  # the lane and class that it came from


class InFlight(Generic[T]):
    """The table, and the number of its free places."""

    def __init__(self, *, places: int) -> None:
        self._places = places
        self._leases: dict[Key, LeasedMessage] = {}
        self._entries: dict[Key, InFlightEntry[T]] = {}
        self._finished: OrderedDict[Key, None] = OrderedDict()
        self._returns: OrderedDict[Key, int] = OrderedDict()
        self._done: set[Key] = set()  # records that only wait for their acknowledgement
        self._lines: Counter[Hashable] = Counter()  # the places of each lane and class
        self._leased = 0  # places

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def room(self) -> int:
        """How many places are free."""
        return max(0, self._places - self._leased)

    def of_line(self, line: Hashable) -> int:
        """How many places the records of a lane and class take."""
        return self._lines[line]

    # ------------------------------------------------------------ coming

    def arrive(self, key: Key, reply: str, sent: float) -> Arrival:
        """Note that a message came that was sent at `sent` or later; if it is NEW, call `open`."""
        lease = self._leases.get(key)
        if lease is not None:
            lease.reply, lease.confirmed = reply, max(lease.confirmed, sent)
            return Arrival.IN_HAND
        return Arrival.FINISHED if key in self._finished else Arrival.NEW

    def open(self, key: Key, reply: str, sent: float, parts: Iterable[int] = (0,)) -> LeasedMessage:
        """Put a message into the table, with the parts that it has."""
        every = frozenset(parts)
        left = {each for each in every if key._replace(part=each) not in self._finished}
        lease = self._leases[key] = LeasedMessage(key, reply, sent, every, left)
        return lease

    def lease(self, key: Key) -> LeasedMessage | None:
        """Return the lease of a message in hand."""
        return self._leases.get(key)

    def take_dropped(self, key: Key) -> frozenset[int]:
        """Return the records of a pack that has come again which were dropped; they are no more."""
        lease = self._leases.get(key)
        if lease is None or not lease.dropped:
            return frozenset()
        found = frozenset(lease.dropped)
        lease.dropped.clear()
        return found

    def add(self, entry: InFlightEntry[T]) -> None:
        """Put a record of an open message into the table."""
        self._entries[entry.key] = entry
        entry.lease.in_hand += 1
        self._leased += entry.places
        self._lines[entry.line] += entry.places

    def get(self, key: Key) -> InFlightEntry[T] | None:
        """Return a record in hand, None when it is not in hand (any more)."""
        return self._entries.get(key)

    # ------------------------------------------------------------ ending

    def is_last(self, key: Key) -> bool:
        """Whether a record in hand is the last one of its message, which ends with it."""
        entry = self._entries.get(key)
        return entry is not None and len(entry.lease.left) == 1

    def end(self, key: Key) -> None:
        """
        Free a record's places; it only has to be acknowledged now.

        After a restart of the server it can be acknowledged only when it has come again. If it kept
        its places, a full table would request no records, and it would never come.
        """
        entry = self._entries.get(key)
        if entry is not None and key not in self._done:
            self._done.add(key)
            self._vacate(entry)

    def finish(self, key: Key) -> LeasedMessage | None:
        """
        Note that a record was settled, and remember it in case it comes again.

        Returns the lease of its message if that is to be given back now.
        """
        entry = self._entries.get(key)
        if entry is not None:
            entry.lease.left.discard(key.part)
        returned = self._remove(key)
        self._returns.pop(key, None)
        self._remember(key)
        if key.part and entry is not None and not entry.lease.left:
            self._remember(key.message)
        return returned

    def pin(self, lease: LeasedMessage) -> None:
        """Keep a message in the table also while none of its records is in hand."""
        lease.in_hand += 1

    def unpin(self, lease: LeasedMessage) -> LeasedMessage | None:
        """Undo `pin`. Returns the lease if the message is to be given back now."""
        if not lease.left:
            self._remember(lease.key)
        return self._leave(lease)

    def end_part(self, lease: LeasedMessage, key: Key) -> None:
        """Note that a record of a pack has ended that is not in hand."""
        lease.left.discard(key.part)
        self._remember(key)

    def _remember(self, key: Key) -> None:
        self._finished[key] = None
        if len(self._finished) > _REMEMBERED:
            self._finished.popitem(last=False)

    def has_finished(self, key: Key) -> bool:
        """Whether a record was settled here, and the queue has acknowledged that."""
        return key in self._finished

    # ------------------------------------------------------------ returning

    def drop(self, key: Key) -> None:
        """Remove a record; if it comes again, it is new."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.lease.dropped.add(key.part)
        self._remove(key)

    def give_back(self, key: Key) -> int:
        """Remove a record that is given back; return how often that has happened to it."""
        self._remove(key)
        times = self._returns.pop(key, 0) + 1
        self._returns[key] = times
        if len(self._returns) > _REMEMBERED:
            self._returns.popitem(last=False)
        return times

    def give_back_later(self, key: Key, delay: float) -> LeasedMessage | None:
        """
        Remove a record that is given back after `delay` seconds, with its whole message.

        Returns the lease of the message if no other record of it is in hand, so that it is given
        back now.
        """
        entry = self._entries.get(key)
        if entry is not None:
            entry.lease.returns_after = max(delay, entry.lease.returns_after or 0.0)
        return self._remove(key)

    def know_returns(self, key: Key, times: int) -> None:
        """Note how often a record was given back, here or elsewhere."""
        self._returns[key] = max(times, self._returns.get(key, 0))

    def returns(self, key: Key) -> int:
        """How often a record is known to have been given back: deliveries that are no deaths."""
        return self._returns.get(key, 0)

    def _remove(self, key: Key) -> LeasedMessage | None:
        """Remove a record; return the lease of its message if that is to be given back now."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        if key in self._done:
            self._done.remove(key)
        else:
            self._vacate(entry)
        return self._leave(entry.lease)

    def _leave(self, lease: LeasedMessage) -> LeasedMessage | None:
        lease.in_hand -= 1
        if lease.in_hand:
            return None
        if self._leases.get(lease.key) is lease:
            del self._leases[lease.key]
        # A dropped record may be another process's by now, which a return would disturb.
        returns = lease.left and not lease.dropped and lease.returns_after is not None
        return lease if returns else None

    def _vacate(self, entry: InFlightEntry[T]) -> None:
        self._leased -= entry.places
        self._lines[entry.line] -= entry.places
        if not self._lines[entry.line]:
            del self._lines[entry.line]

    # ------------------------------------------------------------ leases

    def confirm(self, key: Key, sent: float) -> None:
        """Note that the queue confirmed the renewal of a lease that was requested at `sent`."""
        lease = self._leases.get(key)
        if lease is not None:
            lease.confirmed = max(lease.confirmed, sent)

    def due(self, now: float, age: float) -> list[LeasedMessage]:
        """
        Return the leases that were confirmed `age` seconds ago or longer.

        Without those of packs of which a record was dropped: else that one would never come again.
        """
        return [
            lease
            for lease in self._leases.values()
            if now - lease.confirmed >= age and not lease.dropped
        ]

    def all(self) -> list[InFlightEntry[T]]:
        """Return every record in hand."""
        return list(self._entries.values())
