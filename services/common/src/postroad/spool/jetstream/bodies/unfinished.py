"""
Limits the storage for content of messages that are not accepted yet. No I/O, no clock.

Anybody may send content without a final dot, and this content takes storage from other mail and
from the writes that empty the queue. So three things are checked before a chunk is stored:

- Storage is not nearly full: the rest is reserved for emptying the queue.
- All unfinished content of the process is within a part of the free room. Strangers have a smaller
  part than Clients, so their content is refused first.
- When strangers have used half of their part, each of their messages is limited to an equal share,
  so that large messages do not keep out small ones.

The last chunk of a message need not pass the second and third check, because it finishes the
message.

The processes divide the room by their number, which their sessions tell. Whoever may write these
could tell any number. So each process has room for some of the largest messages, or a quarter of
the room where that is less. Many processes could use up the room in this way. So this holds while a
part of the whole storage is left.
"""

from collections.abc import Callable
from typing import Protocol

from postroad.spool.errors import SpoolFull

_CLIENTS, _STRANGERS = 0.75, 0.5  # parts of the room that is free without unfinished content
_SHARED = 0.5  # of the strangers' part
_MOST_PROCESSES = 100  # a larger number is not believed
_LEAST = 256 * 1024 * 1024  # octets of room for a process, unless there is little
_LITTLE = 0.25  # of the room
_KEPT = 0.125  # of the room of empty storage


class Storage(Protocol):
    """How much storage is free."""

    @property
    def near_full(self) -> bool:
        """Whether new mail should be refused."""

    @property
    def room(self) -> float:
        """Octets of content that may be stored before storage is nearly full."""

    @property
    def whole_room(self) -> float:
        """What `room` is while nothing is stored."""


class UnfinishedBodies:
    """The unfinished bodies that a process is writing."""

    def __init__(self, storage: Storage, *, processes: Callable[[], int]) -> None:
        self._storage = storage
        self._processes = processes  # the number of processes that share the room
        self.octets = 0
        self.bodies = 0

    def begin(self, *, known: bool) -> "UnfinishedBody":
        """Begin a body; `known` says that it is a Client's."""
        self.bodies += 1
        return UnfinishedBody(self, known=known)

    def check(self) -> None:
        """Raise SpoolFull if storage is nearly full."""
        if self._storage.near_full:
            raise SpoolFull("the queue's storage is nearly full")

    def _part(self, room: float) -> float:
        """Return this process's part of the room."""
        processes = min(max(self._processes(), 1), _MOST_PROCESSES)
        part = room / processes
        if self._storage.room <= self._storage.whole_room * _KEPT:
            return part
        return max(part, min(_LEAST, room * _LITTLE))

    def has_room(self, own: int, more: int, *, known: bool) -> bool:
        """Whether a body that has stored `own` octets may store more."""
        room = self._part(self._storage.room + self.octets)
        after = self.octets + more
        if known:
            return after <= room * _CLIENTS
        part = room * _STRANGERS
        share = part * _SHARED / max(self.bodies, 1)
        return after <= part * _SHARED or (after <= part and own + more <= share)


class UnfinishedBody:
    """One unfinished body, and the storage that it takes."""

    def __init__(self, unfinished: UnfinishedBodies, *, known: bool) -> None:
        self._unfinished = unfinished
        self._known = known
        self._octets = 0

    def check(self) -> None:
        """Raise SpoolFull if storage is nearly full."""
        self._unfinished.check()

    def take(self, more: int, *, last: bool) -> None:
        """Count octets before they are stored; SpoolFull if there is no room for them."""
        self.check()
        if not last and not self._unfinished.has_room(self._octets, more, known=self._known):
            raise SpoolFull("unfinished messages take all the room that they may have")
        self._octets += more
        self._unfinished.octets += more

    def end(self) -> None:
        """Stop counting the body: it is finished or given up."""
        self._unfinished.octets -= self._octets
        self._unfinished.bodies -= 1
