"""
Whether the DNS answers at all: a circuit breaker. No I/O; the clock is an argument.

A question that nobody answers takes ten seconds and a place. When several in a row end so, and
nothing was answered for a while, only a few are asked, and the rest is known to be unanswered.
The first answer, of whatever kind, ends that: a server that says no is there.

Names that were not answered of late may have servers of their own that are silent. They say nothing
of the DNS, and leave one of the questions that find out to others.
"""

from dataclasses import dataclass

_SILENT = 5  # questions in a row
_QUIET = 3.0  # seconds without an answer
_AT_ONCE = 3  # questions that are asked all the same


@dataclass(slots=True)
class Breaker:
    """What became of the questions asked of late."""

    asking: int = 0
    _silent: int = 0
    _answered: float = 0.0

    def admits(self, now: float, *, slow: bool = False) -> bool:
        """Whether a question is worth asking now; `slow`: its name was not answered of late."""
        return not self._is_open(now) or self.asking < _AT_ONCE - slow

    def _is_open(self, now: float) -> bool:
        return self._silent >= _SILENT and now - self._answered >= _QUIET

    def answers(self, now: float) -> None:
        """A question was answered."""
        self._silent, self._answered = 0, now

    def is_silent(self, *, slow: bool = False) -> None:
        """A question was not answered in its time."""
        self._silent += not slow
