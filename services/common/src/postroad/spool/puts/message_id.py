"""
The message id by which the queue recognises a repeated publish: `<record id>.<step>.<digest>`.

The step grows each time a record is published again. The digest covers the content of the publish:
its destination in the queue, and the recipients with their states. So a publish that is repeated
after a lost acknowledgement is stored once, and a different one is never dropped as a duplicate.
The step alone is not enough: one process may store the deferral of one recipient and die, and the
next process may defer two recipients with the same step.

The digest also covers the stored record from which the publish follows. After a fault the queue may
have two forms of a record, which lead to the same publish with the same step at different times.
Then the second is no repetition, and the message of the first may be gone already.
"""

import hashlib

from postroad.spool.interface import Deferred, Put, Ready
from postroad.spool.lanes.keys import Key
from postroad.spool.record import QueueRecord


def message_id(put: Put, lane: str, origin: Key | None) -> str:
    """
    Return a put's message id; two puts have the same id only if their content is the same.

    `origin` is the record that it follows from, None for new mail.
    """
    record = put.record
    return f"{record.record_id}.{record.step}.{_digest(put, record, lane, origin)}"


def _digest(put: Put, record: QueueRecord, lane: str, origin: Key | None) -> str:
    kind = "r" if isinstance(put.place, Ready) else "s" if isinstance(put.place, Deferred) else "h"
    parts = [kind, record.pool, record.traffic_class, lane, origin.token if origin else "0"]
    parts += [f"{r.mailbox} {r.state}" for r in record.recipients]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:8]
