"""
Smarthosts that hang are withdrawn by an edit: their connections keep no mail from other hosts, and
count when they are brought back, whichever process has the mail by then.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pytest

from postroad.delivery.sharing import claims
from postroad.policy.model import EgressPath, RetrySchedule, SiteLimits, Smarthost, TlsMode
from postroad.spool.agreement import SiteKind
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.testing.patience import patient
from postroad.testing.peers.mx import SILENCE, ScriptedMx
from postroad.testing.processes.delivery import delivering, publish, send

MANY = range(8)  # sites, so that the lanes of some go to whoever joins
POOLS = ("default", "bulk")


def silent(line: bytes, _: int) -> bytes | None:
    return SILENCE if line == b"DATA" else None


def to(number: int, host: ScriptedMx, pool: str) -> EgressPath:
    return EgressPath(
        f"relay:shop/d{number}",
        (Smarthost("127.0.0.1", host.port),),
        tls=TlsMode.NONE,
        retry=RetrySchedule(first=timedelta(hours=1)),
        limits=SiteLimits(connections=2),
        pool=pool,
    )


class Relays:
    """Relays with a smarthost each, which hangs at DATA, and one other host that takes mail."""

    def __init__(self, stack: AsyncExitStack, hosts: Sequence[ScriptedMx], other: ScriptedMx):
        self.cluster = MemoryCluster()
        self.hosts, self.other = hosts, other
        self._outside = MemorySpool(self.cluster, role="command")
        self._stack = stack

    async def edit(self, hosts: Sequence[ScriptedMx], pool: str = "default") -> None:
        """Bring the Relays into force with these hosts, one each, in a pool."""
        paths = {f"d{n}_test": to(n, host, pool) for n, host in enumerate(hosts)}
        await publish(self._outside, **paths)

    async def send(self, count: int, pool: str = "default") -> None:
        """Queue so many messages for each Relay."""
        names = [f"{n}@d{each}.test" for each in range(len(self.hosts)) for n in range(count)]
        await send(self._outside, *names, pool=pool)

    async def start(self, pool: str = "default") -> int:
        """Start a delivery process; return how many lanes it has."""
        spool = MemorySpool(self.cluster, pool=pool)
        self._stack.push_async_callback(spool.close)
        running = delivering(spool, pool=pool, finish=0)
        _, consumer = await self._stack.enter_async_context(running)
        return len(consumer.lanes)

    async def hang(self) -> None:
        """Wait until all connections to all hosts that hang are in use."""
        for host in self.hosts:
            await asyncio.wait_for(host.met(2), patient(10))

    async def arrived(self, count: int) -> None:
        """Wait until so many messages have arrived at the other host."""
        await asyncio.wait_for(self.other.received(count), patient(20))

    async def claimed(self) -> None:
        """Wait until a process has claimed its connections."""
        async with asyncio.timeout(patient(10)):
            while not any(kind is SiteKind.CONNECTIONS for kind, _ in self._records()):
                await asyncio.sleep(0.01)

    def _records(self) -> Sequence[tuple[SiteKind, str]]:
        return list(self.cluster.agreement.site_records)


@asynccontextmanager
async def relays(count: int = 1) -> AsyncIterator[Relays]:
    async with AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(ScriptedMx(silent)) for _ in range(count)]
        other = await stack.enter_async_context(ScriptedMx())
        found = Relays(stack, hosts, other)
        await found.edit(hosts)
        yield found


async def test_connections_of_a_former_owner_keep_no_mail_from_a_new_smarthost() -> None:
    async with relays(len(MANY)) as some:
        await some.start()
        await some.send(2)
        await some.hang()
        assert await some.start(), "some are the other's now"
        await some.edit([some.other for _ in MANY])
        await some.send(2)
        await some.arrived(2 * len(MANY))


async def test_connections_of_a_former_owner_count_when_their_smarthost_is_back() -> None:
    async with relays(len(MANY)) as some:
        await some.start()
        await some.send(2)
        await some.hang()
        await some.edit([some.other for _ in MANY])
        await some.send(1)
        await some.arrived(len(MANY))
        assert await some.start(), "some are the other's now"
        await some.edit(some.hosts)
        await some.send(2)
        await asyncio.sleep(0.5)  # in which more connections would be opened
        assert [host.most_open for host in some.hosts] == [2 for _ in MANY]


async def test_connections_of_a_former_pool_keep_no_mail_from_a_new_smarthost() -> None:
    async with relays() as some:
        for pool in POOLS:
            await some.start(pool)
        await some.send(2)
        await some.hang()
        await some.edit([some.other], "bulk")
        await some.send(5, "bulk")
        await some.arrived(5)


@pytest.mark.parametrize("at_once", [True, False], ids=["one edit", "two edits"])
async def test_a_smarthost_that_is_back_in_another_pool_gets_no_connection_too_many(
    at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "IDLE", 0.1)  # after which a claim without mail is given up
    async with relays() as some:
        for pool in POOLS:
            await some.start(pool)
        await some.send(2)
        await some.hang()
        await some.edit([some.other])
        await some.send(1)
        await some.arrived(1)
        if not at_once:
            await some.edit([some.other], "bulk")
            await some.send(3, "bulk")
            await some.arrived(4)
        await some.edit(some.hosts, "bulk")
        await some.send(5, "bulk")
        await some.claimed()
        await asyncio.sleep(2.5)  # in which more connections would be opened
        assert some.hosts[0].most_open == 2
