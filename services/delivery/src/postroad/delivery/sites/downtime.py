"""
The time for which a site is left alone, as its hosts could not be reached. No I/O, no clock.

What comes in the meantime is put off, without a connection for each record, and comes back so many
in a second, each class in a turn of its own.
"""

from collections import Counter
from dataclasses import dataclass, field

from postroad.mail.traffic import TrafficClass

MAX_DOWN = 60.0  # seconds

_LEAST_RATE = 10.0  # messages per second that come back; what is too fast is parked by its pace


@dataclass(slots=True)
class Downtime:
    """Until when a site is left alone, and why; 0 when it was reached since."""

    until: float = 0.0
    reason: str = ""
    _put_off: Counter[TrafficClass] = field(default_factory=Counter)  # since it went down

    def lasts(self, now: float) -> bool:
        """Whether its hosts could not be reached just now."""
        return now < self.until

    def begins(self, reason: str, now: float, retry_first: float) -> None:
        """Its hosts could not be reached: leave them alone for a while."""
        self.until = now + min(MAX_DOWN, retry_first / 2)
        self.reason = reason
        self._put_off.clear()

    def ends(self) -> None:
        """It was reached."""
        self.until = 0.0

    def put_off(
        self, traffic_class: TrafficClass, now: float, *, rate: float | None, longest: float
    ) -> float:
        """
        Return for how many seconds a record is put off that comes meanwhile.

        That is until it is tried again, and `longest` at most after that. `rate` is what the site
        took in a second while it was up, None when that is not known.
        """
        # The first finds out whether it is up again; not all of them at the same moment. How it
        # failed says nothing of how it will be.
        turn = self._put_off[traffic_class] / max(rate or 0.0, _LEAST_RATE)
        self._put_off[traffic_class] += 1
        return self.until - now + min(turn, longest)
