"""
Gives records of packs back that were not begun.

A pack of which nothing has begun, or ended, goes back as it is. Of any other pack, what is left is
stored again, as single records where mail waits: they need not wait for the attempts that go on.
The pack is acknowledged when these have ended.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from postroad.spool.errors import SpoolError
from postroad.spool.interface import Put, Ready
from postroad.spool.jetstream.consume.flow_control import FlowControl
from postroad.spool.jetstream.consume.leased import ConsumerContext, JetStreamLeasedRecord
from postroad.spool.jetstream.consume.leases import Leases
from postroad.spool.jetstream.consume.poison.returned import Returned
from postroad.spool.jetstream.consume.settle import Settling
from postroad.spool.jetstream.in_flight import LeasedMessage
from postroad.spool.lanes.keys import Key
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_STORED_WITHIN = timedelta(seconds=2)  # a process that stops does not wait for longer


def by_pack(
    leased: Iterable[JetStreamLeasedRecord],
) -> list[list[JetStreamLeasedRecord]]:
    """Return records of packs, those of one pack together."""
    groups: dict[object, list[JetStreamLeasedRecord]] = {}
    for each in leased:
        groups.setdefault(each.key.message, []).append(each)
    return list(groups.values())


class PackReturns:
    """Gives back what one consumer has of packs."""

    def __init__(
        self,
        tools: ConsumerContext,
        flow: FlowControl,
        settling: Settling,
        leases: Leases[JetStreamLeasedRecord],
        returned: Returned,
    ) -> None:
        self._publisher = tools.publisher
        self._flow = flow
        self._hand = flow.hand
        self._settling = settling
        self._leases = leases
        self._returned = returned

    async def give_back(self, records: Sequence[JetStreamLeasedRecord]) -> None:
        """Give back records of one pack that were not begun."""
        in_hand = [each for each in records if self._hand.get(each.key) is not None]
        if not in_hand:
            return
        entry = self._hand.get(in_hand[0].key)
        assert entry is not None, "it is in hand"
        if self._is_whole(entry.lease, in_hand):
            await self._give_back_whole(entry.lease.key, in_hand)
        else:
            await self._store_again(in_hand)

    async def _give_back_whole(self, pack: Key, records: Sequence[JetStreamLeasedRecord]) -> None:
        await self._returned.look(pack)
        for each in records:
            self._settling.give_back_with_pack(each.key)
            self._flow.let_go(each.key)
        await self._returned.note(pack)

    def _is_whole(self, lease: LeasedMessage, records: Sequence[JetStreamLeasedRecord]) -> bool:
        return lease.left == lease.all == {each.key.part for each in records}

    async def _store_again(self, records: Sequence[JetStreamLeasedRecord]) -> None:
        sure = await self._leases.confirm(records[0].key)
        stored = sure and await self._store(records)
        for each in records:
            if stored:
                await self._settling.pass_over(each.key, each.record)
            elif sure:
                # Not before the others have ended: their attempts need the lease.
                self._settling.give_back_with_pack(each.key)
            else:
                self._hand.drop(each.key)
            self._flow.let_go(each.key)

    async def _store(self, records: Sequence[JetStreamLeasedRecord]) -> bool:
        puts = [Put(each.record.next_step(), Ready()) for each in records]
        try:
            # A pack may be there for long after a record of it was stored again. Who gets it then
            # looks for what ended, so this need not wait.
            await self._publisher.publish(
                puts, timeout=_STORED_WITHIN, origin=records[0].key, goes_ahead=True
            )
        except SpoolError as error:
            log.debug("records of a pack come again with it", error=str(error))
            return False
        return True
