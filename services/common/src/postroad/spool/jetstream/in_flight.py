"""
The table of records in hand, by stream, shard and sequence. No I/O; the clock is an argument.

A record may come again while it is in hand, or shortly after it was finished: when nats-server
restarts, its in-memory consumer is lost, and an acknowledgement may be lost. Such a record is not
attempted twice. The new reply subject replaces the old one, and a finished record is acknowledged
again through it.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

from postroad.spool.lanes.keys import Key

T = TypeVar("T")

_REMEMBERED = 20_000  # finished records that are remembered, a few minutes at full speed


class Arrival(Enum):
    """Whether this process knows a record that came."""

    NEW = auto()
    IN_HAND = auto()  # the new lease replaces the old one
    FINISHED = auto()  # acknowledge it again, through the new reply subject


@dataclass(slots=True)
class InFlightEntry(Generic[T]):
    """A record in hand: where to acknowledge it, when its lease was last confirmed, its places."""

    key: Key
    reply: str
    places: int
    confirmed: float  # seconds, by a monotonic clock
    leased: T
    line: Hashable = None  # the lane and class that it came from


class InFlight(Generic[T]):
    """The table, and the number of its free places."""

    def __init__(self, *, places: int) -> None:
        self._places = places
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

    def arrive(self, key: Key, reply: str, sent: float) -> Arrival:
        """Note that a record came that was sent at `sent` or later; if it is NEW, call `add`."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.reply, entry.confirmed = reply, max(entry.confirmed, sent)
            return Arrival.IN_HAND
        return Arrival.FINISHED if key in self._finished else Arrival.NEW

    def add(self, entry: InFlightEntry[T]) -> None:
        """Put a new record into the table."""
        self._entries[entry.key] = entry
        self._leased += entry.places
        self._lines[entry.line] += entry.places

    def get(self, key: Key) -> InFlightEntry[T] | None:
        """Return a record in hand, None when it is not in hand (any more)."""
        return self._entries.get(key)

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

    def finish(self, key: Key) -> None:
        """Note that a record was settled, and remember it in case it comes again."""
        self.drop(key)
        self._returns.pop(key, None)
        self._finished[key] = None
        if len(self._finished) > _REMEMBERED:
            self._finished.popitem(last=False)

    def has_finished(self, key: Key) -> bool:
        """Whether a record was settled here, and the queue has acknowledged that."""
        return key in self._finished

    def drop(self, key: Key) -> None:
        """Remove a record; if it comes again, it is new."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            if key in self._done:
                self._done.remove(key)
            else:
                self._vacate(entry)

    def _vacate(self, entry: InFlightEntry[T]) -> None:
        self._leased -= entry.places
        self._lines[entry.line] -= entry.places
        if not self._lines[entry.line]:
            del self._lines[entry.line]

    def give_back(self, key: Key) -> int:
        """Remove a record that is given back; return how often that has happened to it."""
        self.drop(key)
        times = self._returns.pop(key, 0) + 1
        self._returns[key] = times
        if len(self._returns) > _REMEMBERED:
            self._returns.popitem(last=False)
        return times

    def know_returns(self, key: Key, times: int) -> None:
        """Note how often a record was given back, here or elsewhere."""
        self._returns[key] = max(times, self._returns.get(key, 0))

    def returns(self, key: Key) -> int:
        """How often a record is known to have been given back: deliveries that are no deaths."""
        return self._returns.get(key, 0)

    def confirm(self, key: Key, sent: float) -> None:
        """Note that the queue confirmed the renewal of a lease that was requested at `sent`."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.confirmed = max(entry.confirmed, sent)

    def due(self, now: float, age: float) -> list[InFlightEntry[T]]:
        """Return the records whose lease was confirmed `age` seconds ago or longer."""
        return [entry for entry in self._entries.values() if now - entry.confirmed >= age]

    def all(self) -> list[InFlightEntry[T]]:
        """Return every record in hand."""
        return list(self._entries.values())
