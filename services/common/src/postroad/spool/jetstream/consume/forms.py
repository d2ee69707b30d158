"""
Which form of a record that waited this process had last, and whether another one goes on.

nats-server makes a schedule ready in two steps: it stores the copy, and then purges the schedule.
When it is killed between the two, the schedule fires again after the restart, and the record is
ready twice. A claim that was cut off can leave two forms as well. The copies have no id in their
subject by which to ask for the other. But both come to the lane's owner, one after the other. So it
keeps in mind which forms it had. Where the lane has changed hands between the two, nobody notices.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.ids import RecordId
from postroad.spool.jetstream.in_flight import InFlight, Key
from postroad.spool.jetstream.publish.succession import Succession
from postroad.spool.record import QueueRecord

_REMEMBERED = 20_000  # records, as many as are kept in mind of those that are finished


@dataclass(slots=True)
class _Form:
    key: Key
    step: int
    leaves: bool = False  # its settle puts a later form in its place


class Forms:
    """The last form of each record, of those that `hand` has or had."""

    def __init__(self, hand: InFlight[Any], succession: Succession) -> None:
        self._hand = hand
        self._succession = succession
        self._last: OrderedDict[RecordId, _Form] = OrderedDict()

    def begin(self, key: Key, record: QueueRecord) -> bool:
        """Take down that a form has come; False where another as late, or later, is known."""
        if self._other(key, record) is not None:
            return False
        self._take_down(key, record)
        return True

    def leave(self, key: Key, record: QueueRecord) -> None:
        """Take down that a later form is being put in this one's place."""
        last = self._last.get(record.record_id)
        if last is not None and last.key == key:
            last.leaves = True

    async def is_passed(self, key: Key, record: QueueRecord) -> bool:
        """
        Whether another form goes on, or is done; this one goes on if not.

        SpoolUnavailable while that cannot be told.
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
        Whether a record that has come need not be attempted, as another form of it goes on.

        `again`: it may have been in somebody's hands before; `waited`: a schedule has fired it.
        """
        if again and await self._succession.is_followed(key, record):
            return True
        return waited and await self.is_passed(key, record)

    async def is_gone(self, former: Key) -> bool:
        """Whether a record has ended, from which another one follows."""
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
            Key(other.key.shard, 0), record
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
