"""
Recognises a deferred record that becomes ready twice.

nats-server makes a schedule ready in two steps: it stores the copy, and then purges the schedule.
If it is killed between the two, the schedule fires again after the restart, and the record is ready
twice. An interrupted claim can leave two forms as well. The copies have no id in their subject by
which to look for the other one. But both come to the lane's owner, so the owner remembers which
form of each record it had last. If the lane changes its owner between the two, nobody notices.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.ids import RecordId
from postroad.spool.jetstream.in_flight import InFlight
from postroad.spool.jetstream.publish.succession import Succession
from postroad.spool.lanes.keys import Key
from postroad.spool.record import QueueRecord

_REMEMBERED = 20_000  # records, as many as are kept in mind of those that are finished


@dataclass(slots=True)
class _Form:
    key: Key
    step: int
    leaves: bool = False  # its settle puts a later form in its place


class Forms:
    """The last form of each record that `hand` has or had."""

    def __init__(self, hand: InFlight[Any], succession: Succession) -> None:
        self._hand = hand
        self._succession = succession
        self._last: OrderedDict[RecordId, _Form] = OrderedDict()

    def begin(self, key: Key, record: QueueRecord) -> bool:
        """Record that a form has come; return False if another, as late or later, is known."""
        if self._other(key, record) is not None:
            return False
        self._take_down(key, record)
        return True

    def leave(self, key: Key, record: QueueRecord) -> None:
        """Record that this form is being replaced by a later one."""
        last = self._last.get(record.record_id)
        if last is not None and last.key == key:
            last.leaves = True

    async def is_passed(self, key: Key, record: QueueRecord) -> bool:
        """
        Whether another form is in hand or settled; if not, this one continues.

        Raises SpoolUnavailable while that is not known.
        """
        other = self._other(key, record)
        if other is None:
            return False
        if await self._goes_on(other, record):
            return True
        self._take_down(key, record)
        return False

    async def another_goes_on(
        self, key: Key, record: QueueRecord, *, again: bool, waited: bool
    ) -> bool:
        """
        Whether a record need not be attempted because another form of it continues.

        `again`: a process may have had it before. `waited`: a schedule has fired it.
        """
        if again and await self._succession.is_followed(key, record):
            return True
        return waited and await self.is_passed(key, record)

    async def is_gone(self, former: Key) -> bool:
        """Whether a record from which another one follows has ended."""
        return self._hand.has_finished(former) or await self._succession.is_gone(former)

    async def _goes_on(self, other: _Form, record: QueueRecord) -> bool:
        if self._hand.get(other.key) is not None:
            if other.leaves:
                raise SpoolUnavailable("the other form is being settled")
            return True
        if not self._hand.has_finished(other.key):
            return False  # it was given back, and will be the one that is passed
        # What it left may be gone: with a schedule that fires all is purged on its subject, and the
        # server may have begun to fire it before that was there.
        return not other.leaves or await self._succession.is_followed(
            other.key._replace(sequence=0), record
        )

    def _other(self, key: Key, record: QueueRecord) -> _Form | None:
        last = self._last.get(record.record_id)
        if last is None or last.key == key or last.step < record.step:
            return None
        return last

    def _take_down(self, key: Key, record: QueueRecord) -> None:
        self._last[record.record_id] = _Form(key, record.step)
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)
