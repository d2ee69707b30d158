"""A site's lane moves to another process: connections in use there, and new ones."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

from postroad.policy.model import SiteLimits, Smarthost
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.testing.patience import patient
from postroad.testing.peers.mx import SILENCE, ScriptedMx
from postroad.testing.processes.delivery import delivering, publish, send, to_smarthost

TWO = SiteLimits(connections=2)
MANY = range(8)  # sites, so that the lanes of some go to whoever joins


def silent(line: bytes, _: int) -> bytes | None:
    return SILENCE if line == b"DATA" else None


async def test_a_site_keeps_its_limit_as_its_lane_goes_to_another_process() -> None:
    cluster = MemoryCluster()
    here, there = MemorySpool(cluster), MemorySpool(cluster)
    async with AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(ScriptedMx(silent)) for _ in MANY]
        after = await stack.enter_async_context(ScriptedMx())
        egress_paths = {
            f"d{number}_test": replace(
                to_smarthost(host),
                name=f"relay:shop/d{number}",
                smarthosts=(Smarthost("127.0.0.1", host.port),),
                limits=TWO,
            )
            for number, host in enumerate(hosts)
        }
        await publish(here, anywhere=to_smarthost(after), **egress_paths)
        await send(here, *(f"{n}@d{number}.test" for number in MANY for n in range(4)))
        async with delivering(here, finish=0):
            await asyncio.wait_for(asyncio.gather(*(host.met(2) for host in hosts)), patient(10))
            async with delivering(there, finish=0) as (_, consumer):
                moved = len(consumer.lanes)
                assert moved, "some are the other's now"
                # Mail of all lanes that comes after that goes at once, where nothing is stuck.
                await send(here, *(f"a@e{number}.test" for number in range(40)))
                await asyncio.wait_for(after.received(40), patient(10))
                assert [host.connections for host in hosts] == [2 for _ in MANY]
                for host in hosts:
                    host.hang_up_on_all()
                await asyncio.wait_for(
                    asyncio.gather(*(host.met(4) for host in hosts)), patient(20)
                )
                assert [host.most_open for host in hosts] == [2 for _ in MANY]
