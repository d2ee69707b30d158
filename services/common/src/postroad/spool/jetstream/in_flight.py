"""
The table of records in hand, by shard and stream sequence. No I/O; the clock is an argument.

A record may come again while it is in hand, or just after: nats-server restarted and its memory
consumer with it, or an acknowledgement was lost. It is not attempted twice: its new reply subject
replaces the old one, and a finished record is acknowledged through it.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

_REMEMBERED = 20_000  # finished records kept in mind, a few minutes at full speed


class Key(NamedTuple):
    """What names a stored record: its shard and its sequence in the shard's stream."""

    shard: int
    sequence: int


class Arrival(Enum):
    """What a delivered record is to this process."""

    NEW = auto()
    IN_HAND = auto()  # its lease is now the new one
    FINISHED = auto()  # acknowledge it again, through the new reply subject


@dataclass(slots=True)
class Entry(Generic[T]):
    """A record in hand: where to acknowledge it, when its lease was last confirmed, its places."""

    key: Key
    reply: str
    places: int
    confirmed: float  # seconds, by a monotonic clock
    leased: T
    line: Hashable = None  # the lane and class that it came from


class InFlight(Generic[T]):
    """The table, and how much room is left in it."""

    def __init__(self, *, places: int) -> None:
        self._places = places
        self._entries: dict[Key, Entry[T]] = {}
        self._finished: OrderedDict[Key, None] = OrderedDict()
        self._returns: OrderedDict[Key, int] = OrderedDict()
        self._done: set[Key] = set()  # those that wait for their end to be heard
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
        """Take down that a record came that was sent at `sent` or later; if NEW, `add` it next."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.reply, entry.confirmed = reply, max(entry.confirmed, sent)
            return Arrival.IN_HAND
        return Arrival.FINISHED if key in self._finished else Arrival.NEW

    def add(self, entry: Entry[T]) -> None:
        """Put a new record into the table."""
        self._entries[entry.key] = entry
        self._leased += entry.places
        self._lines[entry.line] += entry.places

    def get(self, key: Key) -> Entry[T] | None:
        """Return a record in hand, None when it is not (any more)."""
        return self._entries.get(key)

    def end(self, key: Key) -> None:
        """
        Nothing is left to do but to acknowledge a record: from now on it takes no room.

        After a restart of the server that is not heard before the record has come again. With a
        full table nothing would be asked for, so it would not come, and the table stay full.
        """
        entry = self._entries.get(key)
        if entry is not None and key not in self._done:
            self._done.add(key)
            self._vacate(entry)

    def finish(self, key: Key) -> None:
        """A record was settled: remember it, in case it comes again."""
        self.drop(key)
        self._returns.pop(key, None)
        self._finished[key] = None
        if len(self._finished) > _REMEMBERED:
            self._finished.popitem(last=False)

    def has_finished(self, key: Key) -> bool:
        """Whether a record was settled here, and the queue has heard so."""
        return key in self._finished

    def drop(self, key: Key) -> None:
        """Let go of a record, which may come again and be new then."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            if key in self._done:
                self._done.remove(key)
            else:
                self._vacate(entry)

    def _vacate(self, entry: Entry[T]) -> None:
        self._leased -= entry.places
        self._lines[entry.line] -= entry.places
        if not self._lines[entry.line]:
            del self._lines[entry.line]

    def give_back(self, key: Key) -> int:
        """Let go of a record on purpose; return how often that was done to it by now."""
        self.drop(key)
        times = self._returns.pop(key, 0) + 1
        self._returns[key] = times
        if len(self._returns) > _REMEMBERED:
            self._returns.popitem(last=False)
        return times

    def know_returns(self, key: Key, times: int) -> None:
        """Take down that a record was given back so often, here or elsewhere."""
        self._returns[key] = max(times, self._returns.get(key, 0))

    def returns(self, key: Key) -> int:
        """How often a record is known to have been given back: deliveries that are no deaths."""
        return self._returns.get(key, 0)

    def confirm(self, key: Key, sent: float) -> None:
        """The queue confirmed an extension of a lease that was asked for at `sent`."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.confirmed = max(entry.confirmed, sent)

    def due(self, now: float, age: float) -> list[Entry[T]]:
        """Return the records whose lease was confirmed `age` seconds ago or longer."""
        return [entry for entry in self._entries.values() if now - entry.confirmed >= age]

    def all(self) -> list[Entry[T]]:
        """Return every record in hand."""
        return list(self._entries.values())
