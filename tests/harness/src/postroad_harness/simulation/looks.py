"""What requests to the servers mean, what they keep of them, and the leader's answer to a look."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from postroad.spool.ids import RecordId
from postroad.spool.interface import Deferred, Held, QueueState, Ready
from postroad.spool.jetstream.streams.subjects import (
    intake_subject,
    named_stream,
    pack_subject,
    ready_subject,
)
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.memory.store import MemoryLine, MemoryStore
from postroad.spool.memory.stored import StoredRecord
from postroad.spool.selection import WaitKind
from postroad.spool.wire.pack import pack
from postroad.spool.wire.record import encode
from postroad_harness.simulation.link import SimulatedLink
from postroad_harness.simulation.packs.store import PackedStore

_NOTES = 10**9  # the sequence of each note: more than any record has
READY_BY_ID = 9  # tokens of such a subject; one of a waiting record has fewer


@dataclass(slots=True, eq=False)
class Pull:
    """A standing request."""

    link: SimulatedLink
    token: str
    left: int
    expires: float
    told: float  # when it was last heard of


@dataclass(eq=False)
class Consumer:
    """A lane's consumer in a stream; `reached` is the last sequence it delivered."""

    name: str
    pool: str
    lines: Sequence[MemoryLine]
    lane: str
    created: datetime
    deliveries: int = 0
    pulls: list[Pull] = field(default_factory=list)
    delivered: set[Key] = field(default_factory=set)
    reached: int = 0


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


def subject_in(records: Sequence[StoredRecord], lane: str) -> str:
    """Return the subject under which a message that is new or ready lies in a lane."""
    if records[0].key.part:
        return pack_subject(0, [stored.record for stored in records], lane)
    name = intake_subject if records[0].key.stream is QueueStream.INTAKE else ready_subject
    return name(0, records[0].record, lane)


def message_of(records: Sequence[StoredRecord]) -> bytes:
    """Return what is stored of the records of a message."""
    encoded = [encode(stored.record) for stored in records]
    return pack(encoded) if records[0].key.part else encoded[0]


def look(store: PackedStore, ends: EndNotes, stream: QueueStream, request: bytes) -> bytes:
    """Answer STREAM.MSG.GET; `ends` are the notes of what has ended in the intake."""
    said = json.loads(request)
    first = Key(stream, 0, int(said["seq"]))
    subject = said.get("next_by_subj")
    records: Sequence[StoredRecord] = ()
    if subject is None:
        records = store.message(first)
        stored = records[0] if records else None
    else:
        stored = next((s for s in _on(store, subject) if s.key >= first), None)
    if stored is None and subject is not None and first.sequence < _NOTES:
        note = ends.notes.get(RecordId.parse(subject.rpartition(".")[2]))
        if note is not None:
            return _answer(subject, _NOTES, store.clock(), note)
    if stored is None:
        return b'{"error":{"code":404,"err_code":10037,"description":"no message found"}}'
    data = message_of(records or [stored])
    subject = subject or subject_in(records, "of-some-lane")
    return _answer(subject, stored.key.sequence, stored.at, data)


def _answer(subject: str, sequence: int, at: datetime, data: bytes) -> bytes:
    octets = base64.b64encode(data).decode()
    message = {"subject": subject, "seq": sequence, "time": at.isoformat(), "data": octets}
    return json.dumps({"message": message}).encode()


def _on(store: PackedStore, subject: str) -> Iterator[StoredRecord]:
    """Yield the records that have their id in their subject, and fit a filter that ends in one."""
    tokens = subject.split(".")
    record_id, ready = RecordId.parse(tokens[-1]), len(tokens) == READY_BY_ID
    for _, stored in sorted(store.records.items()):
        if stored.key.stream is QueueStream.INTAKE:
            continue
        fits = (stored.kind is WaitKind.READY) is ready and (
            not ready or (record_id, stored.record.step) in store.by_id
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
