"""
Which other processes to consider alive after the servers lost the content of their memory. Pure.

The memory has a name, which changes with each loss (`takers` beside this). A process that lives
through a loss considers the sessions that it knew as alive for the life of a session. A process
that has just begun to take mail waits the same time for those before it, or until all of them have
told that their claims are in this memory.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from postroad.spool.agreement import SessionInfo


@dataclass(slots=True)
class Recollection:
    """Times are seconds of one monotonic clock; a session `lasts` so long without a renewal."""

    lasts: float
    memory: str = ""  # the memory's name, "" before this process begins to take mail
    joining: bool = False  # whether it waits as a new taker, not after a loss
    sessions: Sequence[SessionInfo] = ()  # those known before the loss
    losses: int = 0  # how often this process's claims may have been lost
    _until: float = float("-inf")
    _loss_known: bool = False  # the loss was noticed before the memory's new name was read

    def lives(self, now: float) -> bool:
        """Whether some processes may not have written their keys again."""
        return now < self._until

    def claimed_in(self, now: float) -> str:
        """Return the name of the memory that has all claims of this process, "" if unsure."""
        return self.memory if self.joining or not self.lives(now) else ""

    def lose(self, known: Sequence[SessionInfo], now: float) -> None:
        """Note that the memory was lost, while these sessions were known."""
        self.losses += 1
        self._loss_known = True
        self.joining, self.sessions, self._until = False, known, now + self.lasts

    def read(self, memory: str, known: Sequence[SessionInfo], now: float) -> None:
        """Note the memory's name, which was read now."""
        if not self.memory:
            self.joining, self._until = True, now + self.lasts
        elif memory != self.memory and not self._loss_known:
            self.lose(known, now)
        self._loss_known = False
        self.memory = memory

    def compare(self, others: Iterable[SessionInfo]) -> None:
        """End the wait if all other possible owners of lanes have their claims in this memory."""
        if self.joining and all(info.memory == self.memory for info in others):
            self.joining, self._until = False, float("-inf")


def with_others(found: list[SessionInfo], more: Sequence[SessionInfo]) -> list[SessionInfo]:
    """
    Return the found sessions, and those of `more` that are not among them.

    A process may use the id of another role's session, which is another one all the same.
    """
    known = {(info.role, info.session_id) for info in found}
    return found + [info for info in more if (info.role, info.session_id) not in known]


def is_earlier_life(info: SessionInfo, own: SessionInfo) -> bool:
    """
    Whether a session belongs to an earlier life of the own process.

    It is never so for a process with the name of its role, because there may be several.
    """
    return (
        (info.role, info.process) == (own.role, own.process)
        and own.process != own.role
        and info.session_id != own.session_id
        and info.started <= own.started
    )
