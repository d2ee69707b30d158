"""Mail that waits for its turn while objects change."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

from postroad.policy.model import (
    EgressPath,
    Rate,
    SiteLimits,
)
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemorySpool
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes import delivery
from postroad.testing.processes.delivery import delivering, history, publish, send

HOUR = timedelta(hours=1)
SLOW = SiteLimits(message_rate=Rate(1, HOUR))  # one goes, and the others wait
FREE = SiteLimits()
TO = [f"{number}@y.example" for number in range(5)]


def to_smarthost(
    mx: ScriptedMx, limits: SiteLimits = FREE, name: str = "relay:shop/a"
) -> EgressPath:
    return replace(delivery.to_smarthost(mx), name=name, limits=limits)


async def arrived(mx: ScriptedMx, count: int) -> list[bytes]:
    """Wait for so many messages, and return for whom they are."""
    messages = await asyncio.wait_for(mx.received(count), patient(10))
    return sorted(message.recipients[0].removeprefix(b"RCPT TO:") for message in messages)


async def in_force(spool: MemorySpool) -> None:
    """Wait until each process has what was published last."""
    state = await spool.config.last()
    assert state is not None
    async with asyncio.timeout(patient(10)):
        while True:
            live = await spool.sessions.live()
            if all(each.generation >= state.generation for each in live):
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def four_wait(spool: MemorySpool, **egress_paths: EgressPath) -> AsyncIterator[None]:
    """Send five messages, of which four wait for the next hour, with a process that has them."""
    await publish(spool, **egress_paths)
    await send(spool, *TO)
    async with delivering(spool):
        await history(spool, EventType.DELIVERY)
        yield
