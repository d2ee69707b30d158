"""The selection of records for a listing or an order."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from postroad.spool.record import QueuedRecipient, QueueRecord


class WaitKind(StrEnum):
    """The queue state of a stored record; the value is its token in the queue's subjects."""

    READY = "r"
    DEFERRED = "s"
    HELD = "h"

    @property
    def word(self) -> str:
        """The state as users read it: ready, deferred or held."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Selection:
    """
    Which records an order or a listing selects; every given field must match.

    Addresses are in the spelling of `Mailbox.compared`, so that a selection means the same mail as
    a Client or a Quota in a manifest; `<>` is the null reverse-path.
    """

    queue_id: str | None = None
    domain: str | None = None
    reverse_path: str | None = None
    recipient: str | None = None
    client: str | None = None
    kinds: frozenset[WaitKind] = frozenset(WaitKind)
    lanes: frozenset[str] | None = None
    arrived_before: datetime | None = None

    def admits(self, record: QueueRecord, kind: WaitKind, lane: str) -> bool:
        """Whether a record of this kind and lane is selected."""
        return (
            kind in self.kinds
            and (self.lanes is None or lane in self.lanes)
            and (self.queue_id is None or record.record_id.queue_id == self.queue_id)
            and (self.domain is None or record.domain == self.domain)
            and (self.client is None or record.origin.client == self.client)
            and (self.arrived_before is None or record.arrival < self.arrived_before)
            and (self.reverse_path is None or _sender(record) == self.reverse_path)
            and (self.recipient is None or any(map(self.names, record.pending)))
        )

    def names(self, recipient: QueuedRecipient) -> bool:
        """Whether a recipient of a selected record is selected; without `recipient`, all are."""
        return self.recipient is None or recipient.mailbox.compared == self.recipient


def _sender(record: QueueRecord) -> str:
    return record.reverse_path.compared if record.reverse_path is not None else "<>"
