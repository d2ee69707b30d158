"""
A circuit breaker for the name server. No I/O; the clock is an argument.

An unanswered question takes seconds and a turn. If several in a row are unanswered, and nothing was
answered for a while, the name server is in doubt: either it is unavailable, or the authoritative
servers of these names are silent. A probe decides: a question that a working name server always
answers. If the probe is unanswered, too, only a few questions are asked, and the others fail at
once. The first answer of any kind closes the breaker, since even a refusal shows that the server
works.

Questions for slow names, which were unanswered recently, do not put the server in doubt. While the
breaker is open, one of the few questions is reserved for other names.
"""

from dataclasses import dataclass

_SILENT = 5  # unanswered questions in a row
_QUIET = 3.0  # seconds without an answer
_AT_ONCE = 3  # concurrent questions while the breaker is open
_AGAIN = 5.0  # seconds until an unavailable name server is probed again


@dataclass(slots=True)
class Breaker:
    """The state of the breaker, from the results of recent questions."""

    asking: int = 0
    _silent: int = 0
    _answered: float = 0.0
    _away: float | None = None  # when a probe last had no answer; None: the server works

    def is_in_doubt(self, now: float) -> bool:
        """Whether the name server must be probed before the next question."""
        if self._away is not None:
            return now - self._away >= _AGAIN
        return self._silent >= _SILENT and now - self._answered >= _QUIET

    def admits(self, *, slow: bool = False) -> bool:
        """Whether a question may be asked; `slow` says that its name was unanswered recently."""
        return self._away is None or self.asking < _AT_ONCE - slow

    def answers(self, now: float) -> None:
        """Note that a question, or the probe, was answered."""
        self._silent, self._answered, self._away = 0, now, None

    def is_silent(self, *, slow: bool = False) -> None:
        """Note that a question timed out."""
        self._silent += not slow

    def is_away(self, now: float, *, began: float) -> None:
        """Note that the probe, which began at `began`, was unanswered; open unless others were."""
        if self._answered <= began:
            self._away = now
