"""
How many connections one site is seen to bear, within its limits. No I/O; the clock is an argument.

Feedback as in Postfix, with additive growth behind a refusal. A site begins with few connections
and is given one more for each attempt that it answers, so twice as many each round: a host that
says nothing never has more than it began with. A connection that is refused while others work sets
the window to what works. After a while one more is tried, and if it is refused, that while becomes
twice as long; if it is not, another one follows with each round of answers.
"""

from dataclasses import dataclass

INITIAL = 5  # connections, as in Postfix (initial_destination_concurrency)

_HOLD, _LONGEST_HOLD = 10.0, 300.0  # seconds behind a refusal in which no more are tried
_FORGET = 10  # holds behind a refusal, after which it is the first again


@dataclass(slots=True)
class Concurrency:
    """The window of one site: how many connections may be in use there."""

    window: int = INITIAL
    _refused: bool = False
    _refused_at: float = 0.0
    _hold: float = _HOLD
    _answers: int = 0  # since the window last grew

    def answered(self, now: float, most: int) -> None:
        """Take down that an attempt was answered there; `most` is the site's limit."""
        if self.window >= most:
            return
        if self._refused:
            if now - self._refused_at < self._hold:
                return
            self._answers += 1
            if self._answers < self.window:
                return
        self._answers = 0
        self.window += 1

    def refused(self, now: float, working: int) -> None:
        """Take down that a connection was refused while `working` others were in use."""
        self.window = max(1, min(self.window, working))
        self._answers = 0
        since = now - self._refused_at
        if not self._refused or since > _FORGET * self._hold:
            self._hold = _HOLD
        elif since >= self._hold:
            self._hold = min(2 * self._hold, _LONGEST_HOLD)
        self._refused, self._refused_at = True, now
