"""
How fast a site takes mail, by what ends there. No I/O; the clock is an argument.

Unknown is slow until shown fast: a site moves when attempts there are seen to end soon, and stops
moving when for as long nothing ends. Whatever phase it is silent in, it looks the same from here.
"""

from dataclasses import dataclass

QUICK = 10.0  # seconds: a site moves when attempts there end within that
GRACE = 3.0  # seconds that a site has to show something before it counts as slow

_LONGEST_PATIENCE = 60.0  # seconds
_WINDOW = 1.0  # seconds over which the rate is measured
_SMOOTHING = 0.25  # the weight of the attempt that ended last, in the average


@dataclass(slots=True)
class Pace:
    """What one site was seen to take."""

    _took: float | None = None  # seconds an attempt takes, on the average
    _last: float = 0.0  # when an attempt ended, or the first came after nothing
    _rate: float = 0.0  # messages per second while others waited, 0 when it is not known
    _since: float = 0.0  # when the rate began to be measured, 0 while nothing waits
    _ended: int = 0

    def wakes(self, now: float) -> None:
        """Take down that a message comes where nothing waited and nothing was under way."""
        self._last = now

    def waits(self, now: float) -> None:
        """Take down that a message waits: from now on the rate is the site's, not the mail's."""
        if not self._since:
            self._ended, self._since = 0, now

    def waits_no_more(self) -> None:
        """Take down that nothing waits: from now on the rate is that of the mail's coming."""
        self._since = 0.0

    def ends(self, now: float, seconds: float) -> None:
        """Take down that an attempt ended, however, and how long it took."""
        self._last = now
        if self._took is None:  # so far it was getting under way
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
        """Return it with what was measured before, which counts for half after each second."""
        return rate + (self._rate - rate) * 0.5**seconds if self._rate else rate

    def moves(self, now: float, *, busy: bool) -> bool:
        """Whether attempts end soon there. `busy`: some are under way."""
        if self._took is None or self._took > QUICK:
            return False
        return not busy or now - self._last <= QUICK

    def is_young(self, now: float, *, idle: bool) -> bool:
        """Whether it had no time yet to show anything. `idle`: it was not given anything to do."""
        return self._took is None and (idle or now - self._last < GRACE)

    def rate(self, now: float) -> float | None:
        """Return messages per second, also of a site where none ended for a while."""
        elapsed = now - self._since
        if not self._since or elapsed < _WINDOW:
            return self._rate or None
        return self._smoothed(self._ended / elapsed, elapsed)

    def guess(self, connections: int) -> float | None:
        """Return what so many connections would take in a second, None when nothing is known."""
        return connections / max(self._took, 0.001) if self._took is not None else None

    @property
    def patience(self) -> float:
        """For how many seconds a connection may show nothing that does not hang, by the others."""
        return min(max(QUICK, 2 * (self._took or 0.0)), _LONGEST_PATIENCE)

    def still(self, now: float) -> float:
        """Return for how many seconds nothing has ended there, or nothing came."""
        return now - self._last

    @property
    def since(self) -> float:
        """When something last happened there."""
        return self._last
