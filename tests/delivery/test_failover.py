"""A Relay is switched to other smarthosts and back while some of its mail is stuck."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from postroad.policy.model import SiteLimits, Smarthost
from postroad.spool.memory.spool import MemorySpool
from postroad.testing.patience import patient
from postroad.testing.peers.mx import SILENCE, ScriptedMx
from postroad.testing.processes.delivery import delivering, publish, send, to_smarthost

TWO = SiteLimits(connections=2)


def silent(line: bytes, _: int) -> bytes | None:
    return SILENCE if line == b"DATA" else None


class Edited:
    """A Relay that is edited, and one more for each edit: its mail comes once that is in force."""

    def __init__(self, spool: MemorySpool, answering: ScriptedMx) -> None:
        self._spool = spool
        self._answering = answering
        self._edits = 0

    async def turn_to(self, *hosts: ScriptedMx) -> None:
        """Let the Relay send to these hosts, and wait until that is in force."""
        self._edits += 1
        name = f"edit{self._edits}"
        beside = replace(to_smarthost(self._answering), name=f"relay:shop/{name}")
        smarthosts = tuple(Smarthost("127.0.0.1", host.port) for host in hosts)
        edited = replace(beside, name="relay:shop/edited", smarthosts=smarthosts, limits=TWO)
        await publish(self._spool, anywhere=edited, **{f"{name}_example": beside})
        await send(self._spool, f"a@{name}.example")
        await asyncio.wait_for(self._answering.received(self._edits), patient(10))


@asynccontextmanager
async def relay() -> AsyncIterator[tuple[MemorySpool, Edited]]:
    spool = MemorySpool()
    async with ScriptedMx() as answering, delivering(spool, finish=0):
        yield spool, Edited(spool, answering)


async def test_a_smarthost_that_comes_back_has_the_connections_that_it_had() -> None:
    async with ScriptedMx(silent) as one, ScriptedMx(silent) as two, relay() as (spool, edited):
        await edited.turn_to(one)
        await send(spool, *(f"{number}@y.example" for number in range(5)))
        await asyncio.wait_for(one.met(2), patient(10))
        await edited.turn_to(two)
        await asyncio.wait_for(two.met(2), patient(10))
        for host in (one, two, one):
            await edited.turn_to(host)
        assert (one.connections, two.connections) == (2, 2)
        one.hang_up_on_all()
        await asyncio.wait_for(one.met(3), patient(10))
        assert two.open_now == 2, "the others are stuck as before"


async def test_a_smarthost_that_comes_back_beside_another_has_the_connections_that_it_had() -> None:
    async with ScriptedMx(silent) as one, ScriptedMx(silent) as two, relay() as (spool, edited):
        await edited.turn_to(one)
        await send(spool, *(f"{number}@y.example" for number in range(3)))
        await asyncio.wait_for(one.met(2), patient(10))
        await edited.turn_to(two)
        await asyncio.wait_for(two.met(1), patient(10))
        await edited.turn_to(one, two)
        await send(spool, "more@y.example")
        await edited.turn_to(two, one)
        assert (one.connections, two.connections) == (2, 1), "three, where two are allowed"
        one.hang_up_on_all()
        either = [asyncio.ensure_future(host) for host in (one.met(3), two.met(2))]
        ended, others = await asyncio.wait(
            either, timeout=patient(10), return_when=asyncio.FIRST_COMPLETED
        )
        assert ended, "there is room again"
        for other in others:
            other.cancel()
