"""
The pace of a site: how fast it takes mail, measured by ended attempts. No I/O; the clock is an
argument.

An unknown site counts as slow. A site moves when its attempts end soon, and stops moving when
nothing ends for that time, in whatever phase it is silent.

While this process is paused (SIGSTOP, a snapshot of its machine), nothing can end, and that says
nothing of the site. So a process looks at all sites often, and a gap between two looks is a pause,
which does not count. Whoever asks first afterwards notices it, not only the next look.
"""

from dataclasses import dataclass

QUICK = 10.0  # seconds: a site moves if its attempts end within this time
GRACE = 3.0  # seconds without an ended attempt until a new site counts as slow

_LONGEST_PATIENCE = 60.0  # seconds
_PAUSE = 3.0  # seconds without a look, several times what is usual, after which it was a pause
_WINDOW = 1.0  # seconds over which the rate is measured
_SMOOTHING = 0.25  # the weight of the last attempt in the average


@dataclass(slots=True)
class Pace:
    """The measured pace of one site."""

    _took: float | None = None  # average seconds of an attempt
    _last: float = 0.0  # when an attempt ended, or a message came to the idle site
    _rate: float = 0.0  # messages a second while others waited, 0 if unknown
    _since: float = 0.0  # when the measuring of the rate began, 0 while nothing waits
    _ended: int = 0
    _looked: float | None = None  # the last look, None before the first
    _paused: float = 0.0  # seconds of the last pause of this process
    _resumed: float = 0.0  # when it ended

    def looks(self, now: float) -> None:
        """Note that this process runs; it does so about every second."""
        self._heed_pause(now)
        self._looked = now

    def _heed_pause(self, now: float) -> None:
        """Leave out the time for which this process was paused, if it just was."""
        if self._looked is None or now - self._looked <= _PAUSE:
            return
        self._paused, self._resumed, self._looked = now - self._looked, now, now
        self._last = min(now, self._last + self._paused)
        if self._since:
            self._since = min(now, self._since + self._paused)

    def _awake(self, now: float, seconds: float) -> float:
        """Return the part of the last so many seconds in which this process was not paused."""
        return max(0.0, seconds - self._paused) if now - seconds < self._resumed else seconds

    def wakes(self, now: float) -> None:
        """Note that a message comes to an idle site."""
        self._heed_pause(now)
        self._last = now

    def waits(self, now: float) -> None:
        """Note that a message waits: from now on the rate is limited by the site."""
        self._heed_pause(now)
        if not self._since:
            self._ended, self._since = 0, now

    def waits_no_more(self) -> None:
        """Note that nothing waits: from now on the rate is limited by the arriving mail."""
        self._since = 0.0

    def ends(self, now: float, seconds: float, *, silence: float = 0.0) -> None:
        """
        Note that an attempt ended in any way, how long it took, and how long its host was silent.

        If that was long, we gave it up, and the site does not move because of that.
        """
        self._heed_pause(now)
        seconds, silence = self._awake(now, seconds), self._awake(now, silence)
        if silence > QUICK:
            self._took = max(self._took or 0.0, seconds)
            return
        self._last = now
        if self._took is None:  # the time before the first end does not count
            self._took = seconds
            self._ended, self._since = 0, now if self._since else 0.0
            return
        self._took += (seconds - self._took) * _SMOOTHING
        if not self._since:
            return
        self._ended += 1
        elapsed = now - self._since
        if elapsed >= _WINDOW:
            self._rate = self._smoothed(self._ended / elapsed, elapsed)
            self._ended, self._since = 0, now

    def _smoothed(self, rate: float, seconds: float) -> float:
        """Return a rate averaged with the one before, whose weight halves each second."""
        return rate + (self._rate - rate) * 0.5**seconds if self._rate else rate

    def moves(self, now: float, *, busy: bool) -> bool:
        """Whether attempts end soon; `busy` says that some are under way."""
        self._heed_pause(now)
        if self._took is None or self._took > QUICK:
            return False
        return not busy or now - self._last <= QUICK

    def is_young(self, now: float, *, idle: bool) -> bool:
        """Whether the site is too new to be judged; `idle` says that it has no mail."""
        self._heed_pause(now)
        return self._took is None and (idle or now - self._last < GRACE)

    def rate(self, now: float) -> float | None:
        """Return messages a second; falls while none ends. None if unknown."""
        self._heed_pause(now)
        elapsed = now - self._since
        if not self._since or elapsed < _WINDOW:
            return self._rate or None
        return self._smoothed(self._ended / elapsed, elapsed)

    def guess(self, connections: int) -> float | None:
        """Return the messages a second of so many connections, None if unknown."""
        return connections / max(self._took, 0.001) if self._took is not None else None

    @property
    def patience(self) -> float:
        """The seconds without progress after which a connection counts as hanging."""
        return min(max(QUICK, 2 * (self._took or 0.0)), _LONGEST_PATIENCE)

    def still(self, now: float) -> float:
        """Return for how many seconds no attempt has ended."""
        self._heed_pause(now)
        return now - self._last

    @property
    def since(self) -> float:
        """When an attempt last ended, or a message came to the idle site."""
        return self._last
