"""A record as the memory spool stores it."""

from dataclasses import dataclass
from datetime import datetime

from postroad.spool.interface import Deferred, Held, Put, Ready
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.puts.accepted import kind_in_intake
from postroad.spool.record import QueueRecord
from postroad.spool.selection import WaitKind


@dataclass(slots=True)
class StoredRecord:
    """
    A stored record; `at` is when it was stored.

    `holder` has it in hand, until `lapses` if that is set. `follows` is the record that it follows
    from, None if that is unknown. `fired` says that a schedule has made it ready.
    """

    key: Key
    record: QueueRecord
    kind: WaitKind
    due: datetime | None
    at: datetime
    deliveries: int = 0
    holder: object | None = None
    lapses: datetime | None = None
    follows: Key | None = None
    fired: bool = False

    @property
    def shown(self) -> tuple[WaitKind, datetime | None]:
        """The queue state as it is listed; new mail is listed as what it will be."""
        if self.key.stream is QueueStream.INTAKE:
            return kind_in_intake(self.record), self.record.waits_until
        return self.kind, self.due


def kind_and_due(put: Put) -> tuple[WaitKind, datetime | None]:
    """Return the queue state of a put, and when it becomes ready."""
    match put.place:
        case Ready():
            return WaitKind.READY, None
        case Deferred(due):
            return WaitKind.DEFERRED, due
        case Held(until):
            return WaitKind.HELD, until
