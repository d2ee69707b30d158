"""
Counts how often a record was returned in good order, as these deliveries are no deaths.

A process that stops, or leaves a lane, returns the records that it has not begun. The server counts
that as a delivery, as it does when the process dies. So the number of returns is noted, next to the
notes of trials, for the next owner. The notes are read before a record becomes a suspect, and
before it is returned once more.
"""

import asyncio
from datetime import timedelta
from typing import Any

from postroad.spool.errors import SpoolError
from postroad.spool.jetstream.in_flight import InFlight
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.key_value import Bucket, is_deletion
from postroad.spool.lanes.keys import Key
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_KEPT = timedelta(hours=6)  # since the last return
_AT_ONCE = 64  # notes that are read or written


class Returned:
    """The notes about the records that `hand` has or had."""

    def __init__(self, bucket: Bucket, hand: InFlight[Any], link: NatsLink) -> None:
        self._bucket = bucket
        self._hand = hand
        self._link = link
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def look(self, key: Key) -> None:
        """Read how often a record was returned; if that fails, nothing changes."""
        if not self._link.connected:
            return  # a process that stops waits for no notes
        try:
            async with self._turns:
                found = await self._bucket.get(_name(key))
        except SpoolError as error:
            log.debug("how often a record was handed back is not known", error=str(error))
            return
        if found is not None and not is_deletion(found) and found.data.isdigit():
            self._hand.know_returns(key, int(found.data))

    async def note(self, key: Key) -> None:
        """Note how often a record was returned, this time included."""
        if not self._link.connected:
            return
        try:
            async with self._turns:
                await self._bucket.put(_name(key), b"%d" % self._hand.returns(key), lifetime=_KEPT)
        except SpoolError as error:
            log.debug("that a record is handed back is not noted", error=str(error))


def _name(key: Key) -> str:
    return f"suspect.returned-{key.shard}-{key.token}"
