"""
How much room the content of messages that are not accepted yet may take. No I/O, no clock.

Anybody may send content and no final dot. What is stored of it takes the room of mail that others
bring, and of what empties the queue. So three things are asked before a piece is stored:

- Storage is not near full: what is left then is for the queue to be emptied.
- All unfinished content of the process is within a part of the room there is without it. Strangers
  have less of it than Clients, so theirs is refused first.
- Past half of their part, strangers with more than their share of it get no more, so that those who
  bring little are not held up by those who hold much.

The last piece of a message is not asked about the second and third: it makes the message finished.
"""

from collections.abc import Callable
from typing import Protocol

from postroad.spool.errors import SpoolFull

_CLIENTS, _STRANGERS = 0.75, 0.5  # of the room that there is without unfinished content
_SHARED = 0.5  # of the strangers' part


class Storage(Protocol):
    """How much there is."""

    @property
    def near_full(self) -> bool:
        """Whether new mail should be refused."""

    @property
    def room(self) -> float:
        """Octets of content that may be stored until storage is near full."""


class UnfinishedBodies:
    """What a process has stored, or is storing, of messages that are not accepted."""

    def __init__(self, storage: Storage, *, processes: Callable[[], int]) -> None:
        self._storage = storage
        self._processes = processes  # how many share the room
        self.octets = 0
        self.bodies = 0

    def begin(self, *, known: bool) -> "UnfinishedBody":
        """Count one more body; `known` is a Client's."""
        self.bodies += 1
        return UnfinishedBody(self, known=known)

    def check(self) -> None:
        """Raise SpoolFull if storage takes no new mail at all."""
        if self._storage.near_full:
            raise SpoolFull("the queue's storage is nearly full")

    def has_room(self, own: int, more: int, *, known: bool) -> bool:
        """Whether a body that has stored `own` octets may store more."""
        room = (self._storage.room + self.octets) / max(self._processes(), 1)
        after = self.octets + more
        if known:
            return after <= room * _CLIENTS
        part = room * _STRANGERS
        share = part * _SHARED / max(self.bodies, 1)
        return after <= part * _SHARED or (after <= part and own + more <= share)


class UnfinishedBody:
    """What one body has of it."""

    def __init__(self, unfinished: UnfinishedBodies, *, known: bool) -> None:
        self._unfinished = unfinished
        self._known = known
        self._octets = 0

    def check(self) -> None:
        """Raise SpoolFull if storage takes no new mail at all."""
        self._unfinished.check()

    def take(self, more: int, *, last: bool) -> None:
        """Count octets that are to be stored; SpoolFull if they must not be."""
        self.check()
        if not last and not self._unfinished.has_room(self._octets, more, known=self._known):
            raise SpoolFull("messages on their way in take all the room there is for them")
        self._octets += more
        self._unfinished.octets += more

    def end(self) -> None:
        """Count the body no more: it is finished, or given up."""
        self._unfinished.octets -= self._octets
        self._unfinished.bodies -= 1
