"""
Records that need features which this process does not know.

They are left to a newer process. What is returned counts as handed out, of which a consumer has
only so many at a time. So only a few are returned. All others wait where mail waits, or nothing
else would come.
"""

from collections import OrderedDict
from datetime import datetime, timedelta

from postroad.spool.interface import Deferred, Put
from postroad.spool.lanes.keys import Key
from postroad.spool.record import KNOWN_FEATURES, QueueRecord

LATER = timedelta(seconds=30)  # until a returned record comes again
_IS_RETURNED = 60.0  # seconds for which that counts
_RETURNS = 200  # of a process, at a time; the others come again after _MUCH_LATER
_MUCH_LATER = timedelta(minutes=5)


def is_for_newer(record: QueueRecord) -> bool:
    """Whether a record needs a feature that this process does not know."""
    return bool(record.needs - KNOWN_FEATURES)


def put_off(record: QueueRecord, now: datetime) -> Put:
    """Return the put by which a record waits for a newer process."""
    return Put(record.next_step(), Deferred(now + _MUCH_LATER))


class ReturnsToNewer:
    """The records that were returned lately. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._returned_at: OrderedDict[Key, float] = OrderedDict()

    def admit(self, key: Key, now: float) -> bool:
        """Whether one more record may be returned; it counts from now on."""
        while self._returned_at and next(iter(self._returned_at.values())) < now - _IS_RETURNED:
            self._returned_at.popitem(last=False)
        if key not in self._returned_at and len(self._returned_at) >= _RETURNS:
            return False
        self._returned_at[key] = now
        self._returned_at.move_to_end(key)
        return True
