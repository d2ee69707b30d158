"""
What one site is asked to bear: connections at a time and messages in a window. No I/O, no clock.

The message rate is exact over the window that slides: the moments of the last `count` starts are
kept, and the next may begin when the oldest of them has left the window.
"""

from collections import deque

from postroad.policy.model import SiteLimits


class SiteLimiter:
    """Counts one site's connections and starts. Times are seconds by any one monotonic clock."""

    def __init__(self, limits: SiteLimits) -> None:
        self.limits = limits
        self.connections = 0
        self._starts: deque[float] = deque()

    def adopt(self, limits: SiteLimits) -> None:
        """Go on with other limits; what is counted stays counted."""
        self.limits = limits

    @property
    def has_slot(self) -> bool:
        """Whether another connection may be used."""
        return self.connections < self.limits.connections

    @property
    def idle_room(self) -> int:
        """How many connections may be kept open beside those in use."""
        return max(0, self.limits.connections - self.connections)

    def next_start(self, now: float) -> float:
        """Return when the next message may begin: `now`, or later."""
        rate = self.limits.message_rate
        if rate is None:
            return now
        window = rate.window.total_seconds()
        while self._starts and self._starts[0] <= now - window:
            self._starts.popleft()
        if len(self._starts) < rate.count:
            return now
        return self._starts[-rate.count] + window

    def remembers(self, now: float) -> bool:
        """Whether a start is still in its window: forgotten, too many would be let begin."""
        rate = self.limits.message_rate
        if rate is None or not self._starts:
            return False
        return self._starts[-1] > now - rate.window.total_seconds()

    def begin(self, now: float) -> None:
        """Take down that a message begins."""
        if self.limits.message_rate is not None:
            self._starts.append(now)

    def take_back(self, begun: float) -> None:
        """A message that began then was not sent after all."""
        if begun in self._starts:
            self._starts.remove(begun)
