"""
How long a body in the blob store lives: longer than any record that refers to it. No I/O.

A body is deleted with the last record that refers to it (`spool.jetstream.bodies.ends`). Its time
to live is the net below that, for what a killed process had not done yet. The server counts it from
when a chunk was stored, whatever happens to the records, so it is decided before anything is known
of holds.
"""

from datetime import timedelta

from postroad.spool.interface import HOLD_LIMIT, Held, QueueState
from postroad.spool.record import BlobRef, QueueRecord

MARGIN = timedelta(days=14)  # a body's time runs on while servers are down; records wait meanwhile


def time_to_live(lifetime: timedelta) -> timedelta:
    """
    Return how long a body is kept whose record is given up `lifetime` from now.

    A record is tried until its deadline, which is fixed when it is accepted: no hold, order or
    change of a Relay's `lifetime` moves it. But a hold may begin as late as the deadline, and last
    for HOLD_LIMIT, and what is released then is tried once more. So the latest attempt that needs
    the body is `lifetime` and HOLD_LIMIT away. A hold that begins later is for `outlives_body`.
    """
    return lifetime + HOLD_LIMIT + MARGIN


def outlives_body(record: QueueRecord, place: QueueState) -> bool:
    """
    Whether a record that is put there may be tried later than its body is sure to live.

    That is a hold which began after the deadline: a second one, mostly, just after a release. Who
    puts the record there has to give it a new body.
    """
    if not isinstance(place, Held) or not isinstance(record.content, BlobRef):
        return False
    return place.until > record.deadline + HOLD_LIMIT
