"""
The limits of one site: concurrent connections, and messages in a window. No I/O, no clock.

The message rate is exact over a sliding window: the times of the last `count` starts are stored,
and the next message may begin when the oldest of them has left the window. If other processes send
to the site before, after or at the same time, messages begin only from leased slices
(`policy.limits.slices`).
"""

import math
from collections import deque
from collections.abc import Sequence

from postroad.policy.model import Rate, SiteLimits


class SiteLimiter:
    """
    Counts the connections and starts of one site. Times are seconds of one monotonic clock.

    `leased` says that a message may begin only from a slice.
    """

    def __init__(self, limits: SiteLimits, *, leased: bool = False) -> None:
        self.limits = limits
        self.leased = leased
        self.connections = 0
        self.elsewhere = 0  # connections that former owners of the lane still use
        self._starts: deque[float] = deque()
        self._slice = 0  # messages that may begin
        self._slice_ends = 0.0
        self._slice_due = 0.0  # when it is to ask for a slice again, as there was none

    def adopt(self, limits: SiteLimits) -> None:
        """Change the limits; the counts stay."""
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
        """How many idle connections may be kept open."""
        return max(0, self.most - self.connections)

    def next_start(self, now: float) -> float:
        """Return when the next message may begin: `now` or later; inf if it needs a slice."""
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

    def expected_start(self, now: float) -> float:
        """
        Return when the next message may begin, as far as that is known: `now` or later.

        A slice that is needed comes at once, or there was none and the time to ask again is known.
        """
        start = self.next_start(now)
        return max(now, self._slice_due) if start == math.inf else start

    def needs_slice(self, now: float) -> bool:
        """Whether the next message may not begin before a slice is leased."""
        return self.next_start(now) == math.inf

    @property
    def starts(self) -> Sequence[float]:
        """The stored starts, oldest first."""
        return tuple(self._starts)

    def lease(self, count: int, until: float) -> None:
        """Replace the leased slice: so many messages may begin until a time."""
        self._slice, self._slice_ends = count, until

    def refuse_until(self, due: float) -> None:
        """Note that there is no slice now, and when to ask for one again."""
        self._slice_due = due

    def remembers(self, now: float) -> bool:
        """Whether a start is still in its window, so that the site must not be forgotten."""
        rate = self.limits.message_rate
        if rate is None or not self._starts:
            return False
        return self._starts[-1] > now - rate.window.total_seconds()

    def inherit(self, other: "SiteLimiter") -> None:
        """Take over the starts and the slice of a limiter that is no longer used."""
        self._starts = other._starts
        self._slice, self._slice_ends = other._slice, other._slice_ends
        self._slice_due = other._slice_due

    def begin(self, now: float, *, before: Rate | None = None) -> None:
        """Note that a message begins; with `before`, also for a rate that may come into force."""
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
        """Note that a message that began at this time was not sent."""
        if begun in self._starts:
            self._starts.remove(begun)
            self._slice += 1
