"""
Records that wait for their turn at a site, and the line in which they do. No I/O.

Each class has a line of its own, with a turn of its own for what was put off: what waits behind
express mail is only express mail.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from postroad.policy.model import Snapshot, Source, WayOut
from postroad.spool.interface import Taken


@dataclass(slots=True)
class Waiting:
    """
    A record in a site's waiting room, its way out by `snapshot`, and from where it will be sent.

    That is drawn once: drawn again where it does not suit, the shares were not the weights.
    """

    taken: Taken
    way_out: WayOut
    snapshot: Snapshot | None = None
    source: Source | None = None
    begun: float = 0.0  # when, by the limiters
    refusals: int = 0  # connections that its site refused while others worked


@dataclass(slots=True)
class Line:
    """
    The records of one class that wait at a site, in their order; `places` is what they take.

    `suspended` is how many were put off since the site went down.
    """

    places: int = 0
    suspended: int = 0
    _last_turn: float = 0.0  # when the one comes back that was parked last
    _records: deque[Waiting] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self._records)

    def add(self, waiting: Waiting) -> None:
        """Let a record wait behind the others."""
        self._records.append(waiting)
        self.places += waiting.taken.places

    def put_back(self, waiting: Waiting) -> None:
        """Let a record wait before the others."""
        self._records.appendleft(waiting)
        self.places += waiting.taken.places

    @property
    def first(self) -> Waiting:
        """The record that is next."""
        return self._records[0]

    @property
    def last(self) -> Waiting:
        """The record that came last."""
        return self._records[-1]

    def next(self) -> Waiting:
        """Take out the record that is next."""
        waiting = self._records.popleft()
        self.places -= waiting.taken.places
        return waiting

    def pop(self) -> Waiting:
        """Take out the record that came last."""
        waiting = self._records.pop()
        self.places -= waiting.taken.places
        return waiting

    def park(self, now: float, *, before: int, gap: float, longest: float) -> float:
        """
        Return in how many seconds it is the turn of a record that is put off.

        That is behind `before` that wait, and behind all that were put off, `gap` seconds each.
        """
        turn = max(self._last_turn, now + before * gap) + gap
        self._last_turn = min(turn, now + longest)
        return self._last_turn - now

    def forget_turns(self) -> None:
        """Let what is put off next come back behind those that wait, and nobody else."""
        self._last_turn = 0.0

    def withdraw(self, leaves: Callable[[Waiting], bool]) -> list[Waiting]:
        """Take out, and return, those that are to leave."""
        leaving: list[Waiting] = []
        for _ in range(len(self)):  # once round, so that their order stays
            waiting = self.next()
            if leaves(waiting):
                leaving.append(waiting)
            else:
                self.add(waiting)
        return leaving
