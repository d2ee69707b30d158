"""
What one site is asked to bear: connections at a time and messages in a window. No I/O, no clock.

The message rate is exact over the window that slides: the moments of the last `count` starts are
kept, and the next may begin when the oldest of them has left the window. Where others send to the
site too, before, after or beside this process, messages are begun from slices that are leased
(`policy.limits.slices`).
"""

import math
from collections import deque
from collections.abc import Sequence

from postroad.policy.model import Rate, SiteLimits


class SiteLimiter:
    """
    Counts one site's connections and starts. Times are seconds by any one monotonic clock.

    `leased`: a message may begin only from a slice.
    """

    def __init__(self, limits: SiteLimits, *, leased: bool = False) -> None:
        self.limits = limits
        self.leased = leased
        self.connections = 0
        self.elsewhere = 0  # connections that another process has left open
        self._starts: deque[float] = deque()
        self._slice = 0  # messages that may begin
        self._slice_ends = 0.0

    def adopt(self, limits: SiteLimits) -> None:
        """Go on with other limits; what is counted stays counted."""
        self.limits = limits

    @property
    def has_slot(self) -> bool:
        """Whether another connection may be used."""
        return self.connections < self.most

    @property
    def most(self) -> int:
        """How many connections may be used here."""
        return self.limits.connections - self.elsewhere

    @property
    def idle_room(self) -> int:
        """How many connections may be kept open beside those in use."""
        return max(0, self.most - self.connections)

    def next_start(self, now: float) -> float:
        """Return when the next message may begin: `now`, or later; inf where it needs a slice."""
        rate = self.limits.message_rate
        if rate is None:
            return now
        window = rate.window.total_seconds()
        self._forget(now - window)
        if len(self._starts) >= rate.count and (start := self._starts[-rate.count] + window) > now:
            return start
        if self.leased and (self._slice <= 0 or now >= self._slice_ends):
            return math.inf
        return now

    def needs_slice(self, now: float) -> bool:
        """Whether the next message may not begin before a slice is leased."""
        return self.next_start(now) == math.inf

    @property
    def starts(self) -> Sequence[float]:
        """The starts that are remembered, oldest first."""
        return tuple(self._starts)

    def lease(self, count: int, until: float) -> None:
        """Take down that so many messages may begin, until then, whatever was left before."""
        self._slice, self._slice_ends = count, until

    def remembers(self, now: float) -> bool:
        """Whether a start is still in its window: forgotten, too many would be let begin."""
        rate = self.limits.message_rate
        if rate is None or not self._starts:
            return False
        return self._starts[-1] > now - rate.window.total_seconds()

    def inherit(self, other: "SiteLimiter") -> None:
        """Go on with the starts of one that begins nothing more."""
        self._starts = other._starts
        self._slice, self._slice_ends = other._slice, other._slice_ends

    def begin(self, now: float, *, before: Rate | None = None) -> None:
        """Take down that a message begins; also before a rate is in force that soon may be."""
        if self.limits.message_rate is None:
            if before is None:
                return
            self._forget(now - before.window.total_seconds())
        self._starts.append(now)
        self._slice -= 1

    def _forget(self, until: float) -> None:
        while self._starts and self._starts[0] <= until:
            self._starts.popleft()

    def take_back(self, begun: float) -> None:
        """A message that began then was not sent after all."""
        if begun in self._starts:
            self._starts.remove(begun)
            self._slice += 1
