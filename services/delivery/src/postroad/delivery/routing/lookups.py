"""
Limits the records that wait for a DNS look-up. No I/O; the clock is an argument.

An unanswered question holds up a message for ten seconds. So only a part of the places is for mail
that needs a look-up, and other mail passes it. A part of those is for slow names, which were
unanswered recently, so that they do not keep out new names. Neither bulk mail nor one sender gets
all of either (`dns.questions.places`), so that transactional mail and the mail of others always
find a place.

A record without a place, or that comes while the DNS is unavailable, is put off; a limited number a
second comes back. Transactional and bulk mail have separate turns for that, and the senders of each
share them: behind another's newsletter to 30,000 domains, mail would come back after ten minutes.
"""

from dataclasses import dataclass, field

from postroad.dns.questions.places import Places
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import EgressPath
from postroad.spool.record import QueueRecord

_SOON, _LONGEST = 5.0, 900.0  # seconds
_RATE = 50.0  # records of each class that come back in a second
_SLOW = 3  # a third of the places is for slow names
_KEPT = 1.0  # seconds for which a sender counts after its last record came back


def sender_of(record: QueueRecord, egress_path: EgressPath | None) -> str:
    """Return the name under which a record counts: its Client's, or a stranger's egress path's."""
    if record.origin.client is not None:
        return record.origin.client
    return egress_path.name if egress_path is not None else ""


class Lookups:
    """The places of records that wait for the DNS, `most` of all places of a process."""

    def __init__(self, most: int) -> None:
        self._all = Places(most)
        self._slow = Places(max(1, most // _SLOW))
        self._lines = ComebackLines()

    def enter(self, traffic_class: TrafficClass, sender: str, places: int, *, slow: bool) -> bool:
        """
        Let a record wait for the DNS if there is a place; return whether there is.

        `places` is the number that the record takes; `slow` says that its name is slow.
        """
        if not self._all.has_one(traffic_class, sender):
            return False
        if slow and not self._slow.has_one(traffic_class, sender):
            return False
        self._all.take(traffic_class, sender, places)
        if slow:
            self._slow.take(traffic_class, sender, places)
        return True

    def leave(self, traffic_class: TrafficClass, sender: str, places: int, *, slow: bool) -> None:
        """Give back the places that `enter` took."""
        self._all.give_back(traffic_class, sender, places)
        if slow:
            self._slow.give_back(traffic_class, sender, places)

    def wait(self, traffic_class: TrafficClass, sender: str, now: float) -> float:
        """Return for how many seconds to put off a record."""
        return self._lines.wait(traffic_class, sender, now)


class ComebackLines:
    """The times at which records come back that were put off: a line for each class."""

    def __init__(self, rate: float = _RATE) -> None:
        self._lines = {traffic_class: _ComebackLine(rate) for traffic_class in TrafficClass}

    def wait(self, traffic_class: TrafficClass, sender: str, now: float) -> float:
        """Return for how many seconds to put off a record."""
        return self._lines[traffic_class].join(sender, now) - now


@dataclass(slots=True)
class _ComebackLine:
    """
    The times at which records of one class come back.

    A time that was given cannot be changed. So each sender has a line of its own, and gets its
    share of the rate among those that have mail in theirs. More than the rate comes back for a
    while after a sender has joined, because the others' records keep the times they have.
    """

    rate: float
    _last: dict[str, float] = field(default_factory=dict)  # a sender's last record comes back then
    _cleared: float = 0.0

    def join(self, sender: str, now: float) -> float:
        """Return when the next record of a sender comes back."""
        if now - self._cleared >= _KEPT:
            self._last = {each: last for each, last in self._last.items() if last > now}
            self._cleared = now
        last = self._last.setdefault(sender, 0.0)
        turn = min(last + len(self._last) / self.rate, now + _LONGEST)
        self._last[sender] = max(now + _SOON, turn)
        return self._last[sender]
