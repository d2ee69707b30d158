"""
Whether the name server answers at all: a circuit breaker. No I/O; the clock is an argument.

A question that nobody answers takes seconds and a place. When several in a row end so, and nothing
was answered for a while, the name server is in doubt: either it is away, or these names have
servers of their own that are silent. A probe tells which: a question that a living name server
answers whatever becomes of others. When the probe is not answered either, only a few questions are
asked, and the rest is known to be unanswered. The first answer, of whatever kind, ends that: a
server that says no is there.

Names that were not answered of late cast no doubt, and leave one of the questions that are asked
all the same to others.
"""

from dataclasses import dataclass

_SILENT = 5  # questions in a row
_QUIET = 3.0  # seconds without an answer
_AT_ONCE = 3  # questions that are asked all the same
_AGAIN = 5.0  # seconds until a name server that is away is probed again


@dataclass(slots=True)
class Breaker:
    """What became of the questions asked of late."""

    asking: int = 0
    _silent: int = 0
    _answered: float = 0.0
    _away: float | None = None  # when a probe last had no answer; None: the server is there

    def is_in_doubt(self, now: float) -> bool:
        """Whether the name server has to be probed before anything else is asked."""
        if self._away is not None:
            return now - self._away >= _AGAIN
        return self._silent >= _SILENT and now - self._answered >= _QUIET

    def admits(self, *, slow: bool = False) -> bool:
        """Whether a question is worth asking; `slow`: its name was not answered of late."""
        return self._away is None or self.asking < _AT_ONCE - slow

    def answers(self, now: float) -> None:
        """A question was answered, be it the probe."""
        self._silent, self._answered, self._away = 0, now, None

    def is_silent(self, *, slow: bool = False) -> None:
        """A question was not answered in its time."""
        self._silent += not slow

    def is_away(self, now: float, *, began: float) -> None:
        """The probe that `began` then was not answered: so the server is away, if nothing was."""
        if self._answered <= began:
            self._away = now
