"""A queue to be emptied, for tests of records in hand."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient

OpenJetStream = Callable[..., Awaitable[JetStreamSpool]]
ALL = Selection()
LATER = timedelta(hours=1)


async def waiting(spool: JetStreamSpool) -> list[WaitKind]:
    return sorted([queued.kind async for queued in spool.waiting.list(ALL)])


async def until_empty(spool: JetStreamSpool) -> None:
    async with asyncio.timeout(patient(20)):
        while True:
            if not await waiting(spool):
                return
            await asyncio.sleep(0.05)
