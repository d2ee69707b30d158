"""
The leases of records in hand: how long no other process can have a record.

The leases are extended before they expire. Before a record is sent, its lease must have been
confirmed recently; if it was not, the queue is asked once. The records of a pack have one lease. If
one of them was dropped, no other begins before the pack has come again.
"""

import asyncio
from typing import Generic, TypeVar

from postroad.spool.errors import SpoolError
from postroad.spool.jetstream.cluster.sessions.membership import Membership
from postroad.spool.jetstream.consume.settle import ACK_TIMEOUT
from postroad.spool.jetstream.in_flight import InFlight, LeasedMessage
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.timings import Timings
from postroad.spool.lanes.keys import Key
from postroad.spool.metrics import LEASES_EXPIRED

T = TypeVar("T")

_TICK = 0.5  # seconds between looks
_EXTENDED_AT = 0.35  # of a lease's time


class Leases(Generic[T]):
    """The leases of one consumer."""

    def __init__(
        self,
        hand: InFlight[T],
        *,
        link: NatsLink,
        requests: Requests,
        membership: Membership,
        timings: Timings,
    ) -> None:
        self._hand = hand
        self._link = link
        self._requests = requests
        self._membership = membership
        self._lasts = timings.ack_wait.total_seconds()
        self._fresh = timings.lease_fresh.total_seconds()
        self._expired: set[Key] = set()  # of those in hand, which may be others' by now

    def fresh(self, key: Key) -> bool:
        """Whether a record's lease was confirmed so recently that an attempt may begin."""
        entry = self._hand.get(key)
        if entry is None or entry.lease.dropped or not self._membership.alive():
            return False
        return asyncio.get_running_loop().time() - entry.lease.confirmed < self._fresh

    async def confirm(self, key: Key) -> bool:
        """Whether it is fresh, asking the queue once when it is not."""
        if self.fresh(key):
            return True
        entry = self._hand.get(key)
        if entry is None or entry.lease.dropped:
            return False
        await self._extend(entry.lease)
        return self.fresh(key)

    async def keep(self) -> None:
        """Extend leases in time, until cancelled."""
        while True:
            await asyncio.sleep(_TICK)
            due = self._hand.due(asyncio.get_running_loop().time(), self._lasts * _EXTENDED_AT)
            expired = {lease.key for lease in due if not self._may_last(lease)}
            LEASES_EXPIRED.inc(len(expired - self._expired))
            self._expired = expired
            if due and self._link.connected:
                await asyncio.gather(*(self._extend(lease) for lease in due))

    async def _extend(self, lease: LeasedMessage) -> None:
        # The server answers even if there is no lease to extend, for example when another process
        # got the record after a pause. So the answer counts only if the lease cannot have expired.
        if not self._may_last(lease):
            return  # it will be delivered again; asking would only delay that
        sent = asyncio.get_running_loop().time()
        try:
            await self._requests.send(lease.reply, b"+WPI", timeout=ACK_TIMEOUT)
        except SpoolError:
            return
        if self._may_last(lease):
            self._hand.confirm(lease.key, sent)

    def _may_last(self, lease: LeasedMessage) -> bool:
        return asyncio.get_running_loop().time() - lease.confirmed < self._lasts
