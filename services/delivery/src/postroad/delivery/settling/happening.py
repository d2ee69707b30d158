"""
Makes the events of a record in delivery. No I/O.

The event of an attempt has its outcome, the site, and the Relay.
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
        """The process's name."""


@valueclass(frozen=True, slots=True)
class Attempted:
    """
    An attempt that has ended or was interrupted.

    `outcomes` has the outcomes of all pending recipients, or of some, by their positions.
    `resume_from` is the first recipient that was not tried, 0 if all were.
    """

    outcomes: Mapping[int, Outcome]
    site: str
    peer_address: str = ""
    relay: str = ""  # the Relay of the mail
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
    """Return an event; with `attempted` it is about that attempt, not counted in `record` yet."""
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
