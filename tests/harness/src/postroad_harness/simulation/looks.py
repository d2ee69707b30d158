"""What requests to the servers mean, and the leader's answer to one for a stored record."""

import base64
import json
from collections.abc import Iterator, Mapping
from datetime import datetime

from postroad.spool.ids import RecordId
from postroad.spool.interface import Deferred, Held, QueueState, Ready
from postroad.spool.jetstream.streams.subjects import (
    intake_subject,
    named_stream,
    ready_subject,
)
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.memory.store import MemoryStore
from postroad.spool.memory.stored import StoredRecord
from postroad.spool.selection import WaitKind
from postroad.spool.wire.record import encode

_NOTES = 10**9  # the sequence of each note: more than any record has
_READY_BY_ID = 9  # tokens of such a subject; one of a waiting record has fewer


class EndNotes:
    """The notes that records in the intake have ended."""

    def __init__(self) -> None:
        self.notes: dict[RecordId, bytes] = {}

    def add(self, store: MemoryStore, subject: str, note: bytes) -> list[Key]:
        """Store a note, and return the keys of the record that it is about."""
        record_id = RecordId.parse(subject.rpartition(".")[2])
        self.notes[record_id] = note
        return [
            key
            for key, stored in store.records.items()
            if key.stream is QueueStream.INTAKE and stored.record.record_id == record_id
        ]


def subject_in(stored: StoredRecord, lane: str) -> str:
    """Return the subject under which a record that is new or ready lies in a lane."""
    name = intake_subject if stored.key.stream is QueueStream.INTAKE else ready_subject
    return name(0, stored.record, lane)


def look(store: MemoryStore, ends: EndNotes, stream: QueueStream, request: bytes) -> bytes:
    """Answer STREAM.MSG.GET; `ends` are the notes of what has ended in the intake."""
    said = json.loads(request)
    first = Key(stream, 0, int(said["seq"]))
    subject = said.get("next_by_subj")
    if subject is None:
        stored = store.records.get(first)
    else:
        stored = next((s for s in _on(store, subject) if s.key >= first), None)
    if stored is None and subject is not None and first.sequence < _NOTES:
        note = ends.notes.get(RecordId.parse(subject.rpartition(".")[2]))
        if note is not None:
            return _answer(subject, _NOTES, store.clock(), note)
    if stored is None:
        return b'{"error":{"code":404,"err_code":10037,"description":"no message found"}}'
    subject = subject or f"of record {stored.record.record_id}"
    return _answer(subject, stored.key.sequence, stored.at, encode(stored.record))


def _answer(subject: str, sequence: int, at: datetime, data: bytes) -> bytes:
    octets = base64.b64encode(data).decode()
    message = {"subject": subject, "seq": sequence, "time": at.isoformat(), "data": octets}
    return json.dumps({"message": message}).encode()


def _on(store: MemoryStore, subject: str) -> Iterator[StoredRecord]:
    """Yield the records that have their id in their subject, and fit a filter that ends in one."""
    tokens = subject.split(".")
    record_id, ready = RecordId.parse(tokens[-1]), len(tokens) == _READY_BY_ID
    for _, stored in sorted(store.records.items()):
        if stored.key.stream is QueueStream.INTAKE:
            continue
        fits = (stored.kind is WaitKind.READY) is ready and (
            stored.follows is not None or not ready
        )
        if stored.record.record_id == record_id and fits:
            yield stored


def waiting_key(sequence: int) -> Key:
    """Return the key of a record where mail waits."""
    return Key(QueueStream.WAITING, 0, sequence)


def stream_asked(subject: str) -> QueueStream:
    """Return the stream in the subject of a request for one message."""
    return named_stream(subject.rpartition(".")[2])[0]


def place_of(stream: QueueStream, subject: str, headers: Mapping[str, str]) -> QueueState:
    """Return the queue state of a record that is published."""
    kind = subject.split(".")[3]
    if kind == "r" or stream is QueueStream.INTAKE:
        return Ready()
    due = datetime.fromisoformat(headers["Nats-Schedule"].removeprefix("@at "))
    return Deferred(due) if kind == "s" else Held(due)


def error_answer(code: int, text: str) -> bytes:
    """Return a refusal."""
    return json.dumps({"error": {"err_code": code, "description": text}}).encode()


def consumer_answer(created: datetime, delivered: int, now: datetime) -> bytes:
    """Return what is said of a consumer to whoever asks for it."""
    said = {
        "created": created.isoformat(),
        "delivered": {"consumer_seq": delivered},
        "ts": now.isoformat(),
    }
    return json.dumps(said).encode()
