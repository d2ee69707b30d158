"""
What happened to a record, as an event of its history. No I/O.

An attempt is told with what it was: its outcomes, the site, and the Relay that says how it leaves.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from postroad.delivery.outcome import Outcome
from postroad.mail.valueclass import valueclass
from postroad.spool.event import Event, EventType, record_event
from postroad.spool.record import QueuedRecipient, QueueRecord


class Occasion(Protocol):
    """When something happens to a record, and in which process."""

    @property
    def now(self) -> datetime:
        """The time."""

    @property
    def process(self) -> str:
        """The process, as people know it."""


@valueclass(frozen=True, slots=True)
class Attempted:
    """
    One attempt as it ended, or was broken off.

    There is an outcome for each recipient that was pending, or for some, by its position.
    `resume_from`: the first that it did not come to, 0 if it came to all.
    """

    outcomes: Mapping[int, Outcome]
    site: str
    peer_address: str = ""
    relay: str = ""  # the Relay that says how it leaves
    resume_from: int = 0


def event_about(
    kind: EventType,
    record: QueueRecord,
    recipients: Sequence[QueuedRecipient],
    at: Occasion,
    *,
    outcome: Outcome | None = None,
    attempted: Attempted | None = None,
    reason: str = "",
) -> Event:
    """Return an event; with `attempted` it is one of that attempt, which `record` knows not yet."""
    return record_event(
        kind,
        record,
        recipients,
        at=at.now,
        process=at.process,
        reason=reason,
        site=attempted.site if attempted else "",
        host=outcome.host if outcome else "",
        peer_address=attempted.peer_address if attempted else "",
        relay=attempted.relay if attempted else "",
        reply=outcome.text if outcome else "",
        ambiguous=outcome.ambiguous if outcome else False,
        tls=outcome.tls if outcome else "",
        of_attempt=attempted is not None,
    )
