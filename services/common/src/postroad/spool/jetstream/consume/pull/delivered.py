"""A record as the server delivered it, with what its headers say about earlier records."""

from postroad.mail.valueclass import valueclass
from postroad.spool.jetstream.consume.pull.lane_pull import LanePull
from postroad.spool.jetstream.nats.client import Incoming
from postroad.spool.jetstream.publish.succession import FOLLOWS, REPLACES

_FOLLOWS, _REPLACES = FOLLOWS.encode(), REPLACES.encode()
_SCHEDULER = b"Nats-Scheduler"


@valueclass(frozen=True, slots=True)
class Delivered:
    """
    A record as the server delivered it.

    `again`: a process may have had it before. `forgotten`: a process may still have it, without a
    lease, because the servers lost the consumer that delivered it.
    """

    shard: int
    sequence: int
    deliveries: int
    again: bool
    forgotten: bool
    pull: LanePull
    message: Incoming

    @property
    def follows(self) -> int:
        """The sequence of the record that it follows from, 0 if that no longer matters."""
        if _FOLLOWS not in self.message.header:
            return 0
        return int(self.message.field(FOLLOWS) or 0)

    @property
    def replaces(self) -> int:
        """The sequence of the waiting record that it replaced, 0 if it replaced none."""
        if _REPLACES not in self.message.header:
            return 0
        return int(self.message.field(REPLACES) or 0)

    @property
    def waited(self) -> bool:
        """Whether a schedule has fired it, or it replaced a schedule."""
        header = self.message.header
        return _SCHEDULER in header or _REPLACES in header
