"""
The name under which the queue recognises a repetition: `<record id>.<step>.<digest>`.

The step grows each time a record is published again; the digest covers what the publication says:
where it goes, and the unfinished recipients with their states. The same consequence repeated after
a lost acknowledgement is one message; a different one is never swallowed. With the step alone mail
was lost: a first try stored the deferral of one recipient and died, the second deferred two under
the same name.

It covers as well from which stored record the publication follows. A fault may leave two forms of a
record in the queue, which come to the same consequence at the same step, each in its time: then the
second is no repetition, and what it would be taken for may be gone for long.
"""

import hashlib

from postroad.spool.interface import Put, Ready, Scheduled
from postroad.spool.record import QueueRecord


def message_id(put: Put, lane: str, origin: int) -> str:
    """
    Return a put's message id; two puts have one id only when they say the same.

    `origin` is the sequence of the record it follows from, 0 for new mail.
    """
    record = put.record
    return f"{record.record_id}.{record.step}.{_digest(put, record, lane, origin)}"


def _digest(put: Put, record: QueueRecord, lane: str, origin: int) -> str:
    kind = "r" if isinstance(put.place, Ready) else "s" if isinstance(put.place, Scheduled) else "h"
    parts = [kind, record.pool, record.traffic_class, lane, str(origin)]
    parts += [f"{r.mailbox} {r.state}" for r in record.recipients]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:8]
