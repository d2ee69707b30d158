"""
What a process may believe of the others after the servers lost what was in their memory. Pure.

The memory has a name, another one after each loss (`spool.jetstream.cluster.takers`). Who lived
through a loss keeps the sessions it knew for alive as long as a session lasts. Who has just begun
to take mail waits as long for those before it, unless all of them have told that what they claimed
is in this memory.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from postroad.spool.agreement import SessionInfo


@dataclass(slots=True)
class Recollection:
    """Times are seconds by one monotonic clock; a session `lasts` so long without a renewal."""

    lasts: float
    memory: str = ""  # the name, "" in a process that has not begun to take mail
    joining: bool = False  # whether it waits for those before it, and not for those it knew
    sessions: Sequence[SessionInfo] = ()  # of before the loss
    losses: int = 0  # how often what this process claimed may have been lost
    _until: float = float("-inf")
    _loss_known: bool = False  # before the memory was seen to have another name

    def lives(self, now: float) -> bool:
        """Whether not everybody may have written again what was lost."""
        return now < self._until

    def claimed_in(self, now: float) -> str:
        """Return the name of the memory that has all this process claimed, "" when one may not."""
        return self.memory if self.joining or not self.lives(now) else ""

    def lose(self, known: Sequence[SessionInfo], now: float) -> None:
        """The memory was lost, while these sessions were known."""
        self.losses += 1
        self._loss_known = True
        self.joining, self.sessions, self._until = False, known, now + self.lasts

    def read(self, memory: str, known: Sequence[SessionInfo], now: float) -> None:
        """The memory was read, and has a name."""
        if not self.memory:
            self.joining, self._until = True, now + self.lasts
        elif memory != self.memory and not self._loss_known:
            self.lose(known, now)
        self._loss_known = False
        self.memory = memory

    def compare(self, others: Iterable[SessionInfo]) -> None:
        """These others may own lanes: wait no longer if they have claimed all in this memory."""
        if self.joining and all(info.memory == self.memory for info in others):
            self.joining, self._until = False, float("-inf")


def with_others(found: list[SessionInfo], more: Sequence[SessionInfo]) -> list[SessionInfo]:
    """Return the sessions that are found, and those besides that are not among them."""
    known = {info.session_id for info in found}
    return found + [info for info in more if info.session_id not in known]


def is_earlier_life(info: SessionInfo, own: SessionInfo) -> bool:
    """
    Whether a session is an earlier life's of one's own process.

    Never of one that goes by the name of its role: there may be several.
    """
    return (
        (info.role, info.process) == (own.role, own.process)
        and own.process != own.role
        and info.session_id != own.session_id
        and info.started <= own.started
    )
