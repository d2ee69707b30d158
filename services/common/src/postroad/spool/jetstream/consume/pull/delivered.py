"""A record as a pull request brought it, with what the servers say of how it came to be."""

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

    `again`: it may have been in somebody's hands before. `forgotten`: and may still be, without a
    lease, as the servers have lost the consumer that had handed it out.
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
        """The sequence of the record it follows from, 0 when that does not matter any more."""
        if _FOLLOWS not in self.message.header:
            return 0
        return int(self.message.field(FOLLOWS) or 0)

    @property
    def replaces(self) -> int:
        """The sequence of the waiting record whose place it took, 0 when it took none."""
        if _REPLACES not in self.message.header:
            return 0
        return int(self.message.field(REPLACES) or 0)

    @property
    def waited(self) -> bool:
        """Whether a schedule has fired it, or it took the place of one."""
        header = self.message.header
        return _SCHEDULER in header or _REPLACES in header
