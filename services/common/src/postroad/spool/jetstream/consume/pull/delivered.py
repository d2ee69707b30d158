"""A record as the server delivered it, with what its headers say about earlier records."""

from datetime import UTC, datetime

from postroad.mail.valueclass import valueclass
from postroad.spool.jetstream.consume.pull.lane_pull import LanePull
from postroad.spool.jetstream.nats.incoming import Incoming
from postroad.spool.jetstream.publish.succession import FOLLOWS, REPLACES
from postroad.spool.jetstream.streams.subjects import packed
from postroad.spool.lanes.keys import Key, QueueStream

_FOLLOWS, _REPLACES = FOLLOWS.encode(), REPLACES.encode()
_SCHEDULER = b"Nats-Scheduler"


@valueclass(frozen=True, slots=True)
class Delivered:
    """
    A record as the server delivered it.

    `stored_at` is when it was stored, by the servers' clock, in nanoseconds. `again`: a process may
    have had it before. `forgotten`: a process may still have it, without a lease, because the
    servers lost the consumer that delivered it.

    Headers count only where delivery itself stored the record. New mail follows from nothing, and
    who accepts it has no say about other records.
    """

    key: Key
    stored_at: int
    deliveries: int
    again: bool
    forgotten: bool
    pull: LanePull
    message: Incoming

    @property
    def stored(self) -> datetime:
        """When it was stored, by the servers' clock."""
        return datetime.fromtimestamp(self.stored_at / 1e9, UTC)

    @property
    def packed(self) -> int:
        """How many records it has if it is a pack, else 0."""
        return packed(self.message.subject) if self.key.stream is QueueStream.INTAKE else 0

    @property
    def follows(self) -> Key | None:
        """The record that it follows from, None if that no longer matters."""
        return self._named(_FOLLOWS, FOLLOWS)

    @property
    def replaces(self) -> Key | None:
        """The waiting record that it replaced, None if it replaced none."""
        return self._named(_REPLACES, REPLACES)

    def _named(self, octets: bytes, field: str) -> Key | None:
        """Return the record of this shard that a header names."""
        if octets not in self.message.header or self.key.stream is QueueStream.INTAKE:
            return None
        return Key.parse(self.key.shard, self.message.field(field) or "")

    @property
    def waited(self) -> bool:
        """Whether a schedule has fired it, or it replaced a schedule."""
        header = self.message.header
        if self.key.stream is QueueStream.INTAKE:
            return False
        return _SCHEDULER in header or _REPLACES in header
