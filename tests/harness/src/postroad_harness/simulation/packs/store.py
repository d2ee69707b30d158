"""
The memory store with packs: records of one message, which are leased and acknowledged together.

The records of a pack have the same sequence, and are told apart by their part of it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from postroad.spool.ids import RecordId
from postroad.spool.interface import Put
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.memory.store import MemoryLane, MemoryLine, MemoryStore
from postroad.spool.memory.stored import StoredRecord
from postroad.spool.selection import WaitKind


@dataclass
class PackedStore(MemoryStore):
    """A memory store in which one message may have several records."""

    # The ready records that have their id in their subject, with their step.
    by_id: set[tuple[RecordId, int]] = field(default_factory=set)
    _part: int = 0  # of the record of a pack that is stored next

    def append_pack(self, puts: Sequence[Put], name: str) -> Key:
        """Store new mail as one message, and return the key of its last record."""
        self._part = 1
        try:
            names = [f"{name}.{number}" for number in range(len(puts))]
            return self.append(puts, names, stream=QueueStream.INTAKE)
        finally:
            self._part = 0

    def _store(self, stream: QueueStream, put: Put, follows: Key | None) -> Key:
        if not self._part:
            return super()._store(stream, put, follows)
        if self._part == 1:
            self._last[stream, 0] += 1
        key = Key(stream, 0, self._last[stream, 0], self._part)
        self._part += 1
        self.records[key] = StoredRecord(key, put.record, WaitKind.READY, None, self.clock())
        self._make_ready(key)
        return key

    def message(self, key: Key) -> list[StoredRecord]:
        """Return the records of the message that a record is in, in their order."""
        if key in self.records and not key.part:
            return [self.records[key]]
        return [
            stored for each, stored in sorted(self.records.items()) if each.message == key.message
        ]

    def is_open(self, stored: StoredRecord) -> bool:
        """Whether a pack has an earlier form of a record, so that the history tells its end."""
        former = stored.record.record_id.former
        return stored.key.stream is QueueStream.WAITING and any(
            key.part and other.record.record_id == former for key, other in self.records.items()
        )

    def hand_out(
        self, lane: MemoryLane, holder: object, only: Collection[MemoryLine] | None = None
    ) -> StoredRecord | None:
        """Hand out a lane's next message, and return one of its records."""
        stored = super().hand_out(lane, holder, only)
        if stored is not None and stored.key.part:
            for other in self.message(stored.key):
                if other is not stored:
                    other.holder = holder
                    other.deliveries += 1
        return stored
