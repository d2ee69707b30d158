"""
How many connections one site is seen to bear, within its limits. No I/O; the clock is an argument.

Feedback as in Postfix, with additive growth behind a refusal. A site begins with few connections
and is given one more for each attempt that it answers, so twice as many each round. A connection
that is refused while others work sets the window to what is in use. After a while one more is
tried, and if it is refused, that while becomes twice as long; if it is not, another one follows
with each round of answers.

A host that hangs gives no answer for minutes. So where mail waits and nothing ends, one more
connection is tried all the same, soon where all that are in use hang, and after twice as long each
time, until something is answered. A host that says nothing is so given a few more than it began
with. And a connection that hangs, or is not even open after the same time, does not work: where no
other does, a refusal is that of a site that is down.
"""

from dataclasses import dataclass, field
from typing import Protocol

INITIAL = 5  # connections, as in Postfix (initial_destination_concurrency)

_HOLD, _LONGEST_HOLD = 10.0, 300.0  # seconds behind a refusal in which no more are tried
_FORGET = 10  # holds behind a refusal, after which it is the first again
_PAUSE, _LONGEST_PAUSE = 5.0, 60.0  # seconds without an answer, after which one more is tried


class InUse(Protocol):
    """A connection in use, or on its way there."""

    @property
    def moved_at(self) -> float:
        """When its peer last showed that it is at work, or it began."""


@dataclass(slots=True)
class Concurrency:
    """The window of one site: how many connections may be in use there."""

    window: int = INITIAL
    in_use: set[InUse] = field(default_factory=set)
    _refused: bool = False
    _refused_at: float = 0.0
    _hold: float = _HOLD
    _answers: int = 0  # since the window last grew
    _pause: float = _PAUSE
    _probed_at: float = 0.0

    def answered(self, now: float, most: int) -> None:
        """Take down that an attempt was answered there; `most` is the site's limit."""
        self._pause = _PAUSE
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

    def refused(self, now: float, others: int) -> None:
        """Take down that a connection was refused while `others` were in use, some at work."""
        self.window = max(1, min(self.window, others))
        self._answers = 0
        since = now - self._refused_at
        if not self._refused or since > _FORGET * self._hold:
            self._hold = _HOLD
        elif since >= self._hold:
            self._hold = min(2 * self._hold, _LONGEST_HOLD)
        self._refused, self._refused_at = True, now

    def works(self, now: float, patience: float) -> bool:
        """Whether any connection in use has shown something in the last `patience` seconds."""
        return any(now - each.moved_at <= patience for each in self.in_use)

    def probes(self, now: float, still: float, patience: float) -> bool:
        """
        Whether one more is tried, as nothing has ended for `still` seconds; take that down.

        Where some work, it is slow, and not before the hold behind a refusal is over.
        """
        quiet = min(still, now - self._probed_at)
        if quiet < self._pause or (quiet < self._hold and self.works(now, patience)):
            return False
        self._pause, self._probed_at = min(2 * self._pause, _LONGEST_PAUSE), now
        self.window += 1
        return True
