"""
The downtime of a site whose hosts could not be reached. No I/O, no clock.

Mail that comes meanwhile is put off without a connection for each record. A limited number of
records a second comes back, with separate turns for each class.
"""

from collections import Counter
from dataclasses import dataclass, field

from postroad.mail.traffic import TrafficClass

MAX_DOWN = 60.0  # seconds

_LEAST_RATE = 10.0  # messages a second that come back; if the site is slower, they are parked


@dataclass(slots=True)
class Downtime:
    """Until when delivery to a site pauses, and why; 0 if the site was reached since."""

    until: float = 0.0
    reason: str = ""
    _put_off: Counter[TrafficClass] = field(default_factory=Counter)  # since it went down

    def lasts(self, now: float) -> bool:
        """Whether the site is down."""
        return now < self.until

    def begins(self, reason: str, now: float, retry_first: float) -> None:
        """Note that the hosts could not be reached, and pause delivery."""
        self.until = now + min(MAX_DOWN, retry_first / 2)
        self.reason = reason
        self._put_off.clear()

    def ends(self) -> None:
        """Note that the site was reached."""
        self.until = 0.0

    def put_off(
        self, traffic_class: TrafficClass, now: float, *, rate: float | None, longest: float
    ) -> float:
        """
        Return for how many seconds to put off a record that comes meanwhile.

        That is until the site is tried again, plus at most `longest`. `rate` is how many messages a
        second the site took while it was up, None if unknown.
        """
        # The first record finds out whether the site is up again, so not all come at once.
        turn = self._put_off[traffic_class] / max(rate or 0.0, _LEAST_RATE)
        self._put_off[traffic_class] += 1
        return self.until - now + min(turn, longest)
