"""
The time to live of a body in the blob store, which must outlast all its records. No I/O.

A body is deleted with the last record that refers to it (`spool.jetstream.bodies.ends`). The time
to live is for bodies that a killed process could not delete. The server counts it from the storing
of a chunk, so it is fixed before any hold of the mail is known.
"""

from datetime import timedelta

from postroad.spool.interface import HOLD_LIMIT, Held, QueueState
from postroad.spool.record import BlobRef, QueueRecord

MARGIN = timedelta(days=14)  # a body's time runs on while servers are down, and no mail is tried


def time_to_live(lifetime: timedelta) -> timedelta:
    """
    Return how long to keep a body whose record is given up `lifetime` from now.

    A record is tried until its deadline, which is fixed when it is accepted: no hold, order or
    change of a Relay's `lifetime` moves it. But a hold may begin as late as the deadline and last
    for HOLD_LIMIT, and then the record is tried once more. So the last attempt that needs the body
    is at most `lifetime` plus HOLD_LIMIT away. `outlives_body` handles holds that begin later.
    """
    return lifetime + HOLD_LIMIT + MARGIN


def outlives_body(record: QueueRecord, place: QueueState) -> bool:
    """
    Whether a record with this queue state may be tried after its body has expired.

    That is so for a hold that begins after the deadline, such as a second one just after a release.
    Then the caller must give the record a new body.
    """
    if not isinstance(place, Held) or not isinstance(record.content, BlobRef):
        return False
    return place.until > record.deadline + HOLD_LIMIT
