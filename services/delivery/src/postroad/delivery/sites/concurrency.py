"""
The window of a site: how many connections it has shown that it accepts, within its limits. No I/O;
the clock is an argument.

The feedback is that of Postfix, with additive growth after a refusal. A site begins with few
connections and gets one more for each answered attempt, which doubles the window in each round. If
a connection is refused while others make progress, the window becomes the number in use. After a
hold, one more is tried. If it is refused, the next hold is twice as long; if not, the window grows
by one with each round of answers.

A hanging host gives no answer for minutes. So if mail waits and no attempt ends, one more
connection is tried, soon if all connections hang, and with doubled pauses until something is
answered. So a silent host gets a few connections more than it began with. A connection that hangs,
or is not open after the same time, makes no progress. If none makes progress, a refusal means that
the site is down.
"""

from dataclasses import dataclass, field
from typing import Protocol

INITIAL = 5  # connections, as in Postfix (initial_destination_concurrency)

_HOLD, _LONGEST_HOLD = 10.0, 300.0  # seconds after a refusal in which no more are tried
_FORGET = 10  # holds after a refusal, after which the next refusal counts as the first
_PAUSE, _LONGEST_PAUSE = 5.0, 60.0  # seconds without an answer, after which one more is tried


class InUse(Protocol):
    """A connection that is in use or being opened."""

    @property
    def moved_at(self) -> float:
        """When its peer last made progress, or when it began."""


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
        """Note that an attempt was answered; `most` is the site's limit."""
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
        """Note that a connection was refused while `others` were in use and some made progress."""
        self.window = max(1, min(self.window, others))
        self._answers = 0
        since = now - self._refused_at
        if not self._refused or since > _FORGET * self._hold:
            self._hold = _HOLD
        elif since >= self._hold:
            self._hold = min(2 * self._hold, _LONGEST_HOLD)
        self._refused, self._refused_at = True, now

    def works(self, now: float, patience: float) -> bool:
        """Whether any connection in use has made progress in the last `patience` seconds."""
        return any(now - each.moved_at <= patience for each in self.in_use)

    def probes(self, now: float, still: float, patience: float) -> bool:
        """
        Decide whether to try one more, as nothing has ended for `still` seconds; note it if so.

        If some connections make progress, the site is slow, and the hold after a refusal counts.
        """
        quiet = min(still, now - self._probed_at)
        if quiet < self._pause or (quiet < self._hold and self.works(now, patience)):
            return False
        self._pause, self._probed_at = min(2 * self._pause, _LONGEST_PAUSE), now
        self.window += 1
        return True
