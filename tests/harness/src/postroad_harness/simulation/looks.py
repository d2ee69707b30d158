"""The leader's answer to a request for one stored record, as `succession` sends it."""

import base64
import json
from collections.abc import Iterator

from postroad.spool.ids import RecordId
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.memory.store import MemoryStore, StoredRecord
from postroad.spool.selection import WaitKind
from postroad.spool.wire.record import encode

_READY_BY_ID = 9  # tokens of such a subject; one of a waiting record has fewer


def look(store: MemoryStore, request: bytes) -> bytes:
    """Answer STREAM.MSG.GET."""
    said = json.loads(request)
    first = Key(QueueStream.WAITING, 0, int(said["seq"]))
    subject = said.get("next_by_subj")
    if subject is None:
        stored = store.records.get(first)
    else:
        stored = next((s for s in _on(store, subject) if s.key >= first), None)
    if stored is None:
        return b'{"error":{"code":404,"err_code":10037,"description":"no message found"}}'
    message = {
        "subject": subject or f"of record {stored.record.record_id}",
        "seq": stored.key.sequence,
        "time": stored.at.isoformat(),
        "data": base64.b64encode(encode(stored.record)).decode(),
    }
    return json.dumps({"message": message}).encode()


def _on(store: MemoryStore, subject: str) -> Iterator[StoredRecord]:
    """Yield the records that have their id in their subject, and fit a filter that ends in one."""
    tokens = subject.split(".")
    record_id, ready = RecordId.parse(tokens[-1]), len(tokens) == _READY_BY_ID
    for _, stored in sorted(store.records.items()):
        fits = (stored.kind is WaitKind.READY) is ready and (
            stored.follows is not None or not ready
        )
        if stored.record.record_id == record_id and fits:
            yield stored
