"""
A domain whose MX records change from answer to answer: its mail flows, and every site keeps its
limit, whoever looked it up.

Each test takes some seconds, because each message is synced to a real server's disk more than once.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest

from postroad.delivery.routing import router
from postroad.dns.resolver import Resolver
from postroad.policy.model import EgressPath, RetrySchedule, SiteLimits, TlsMode
from postroad.spool.event import EventType
from postroad.spool.interface import Spool
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.testing.patience import patient
from postroad.testing.peers.dns_server import InTurn, Zone
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import delivering, publish, send
from postroad.testing.queue.nats_server import NatsServer

MOST = 4  # connections of a site
DOMAINS = [f"{name}.test" for name in "abcdef"]

pytestmark = pytest.mark.nats

PATH = EgressPath(
    "relay:shop/all",
    tls=TlsMode.NONE,
    retry=RetrySchedule(first=timedelta(hours=1)),
    limits=SiteLimits(connections=MOST),
)


def mx(number: int) -> Sequence[str]:
    """Return an answer that may not be cached, and names one of the hosts, which is the site."""
    return [f"0 MX 10 mx{number}.test."]


class Cluster:
    """Delivery processes that share a queue, and hosts that count their connections."""

    def __init__(self, folder: Path, hosts: int) -> None:
        self._count = hosts
        self._stack = AsyncExitStack()
        self._server = NatsServer(folder)
        self.hosts: list[ScriptedMx] = []

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._server)
        await provision(SpoolOptions(servers=(self._server.url,)), layout=SINGLE_MACHINE)
        for number in range(self._count):
            port = self.hosts[0].port if self.hosts else 0
            host = ScriptedMx(address=f"127.0.0.{number + 2}", at_port=port, slowness=0.02)
            self.hosts.append(await self._stack.enter_async_context(host))
        self._outside = await self._open("command")
        await publish(self._outside, anywhere=PATH)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _open(self, role: str) -> Spool:
        spool = await connect(SpoolOptions(servers=(self._server.url,), role=role, process=role))
        self._stack.push_async_callback(spool.close)
        return spool

    async def zone(self, *answers: InTurn | Sequence[str]) -> Zone:
        """Start a name server with these answers for the domains, the first one for the first."""
        table: dict[str, InTurn | Sequence[str]] = {
            f"mx{number}.test": [f"A {host.address}"] for number, host in enumerate(self.hosts)
        }
        table |= zip(DOMAINS, answers, strict=False)
        return await self._stack.enter_async_context(Zone(table))

    async def start(self, zone: Zone) -> AsyncExitStack:
        """Start a delivery process that asks a name server; it ends when it is closed."""
        spool, process = await self._open("delivery"), AsyncExitStack()
        resolver, port = Resolver(zone.address), self.hosts[0].port
        await process.enter_async_context(delivering(spool, resolver=resolver, port=port))
        await self._stack.enter_async_context(process)
        return process

    async def send(self, count: int, *domains: str) -> None:
        """Queue so many messages to each domain, as ingress does that knows no sites yet."""
        for domain in domains:
            await send(self._outside, *(f"{number}@{domain}" for number in range(count)))

    async def delivered(self, count: int) -> None:
        """Wait until so many messages have arrived at any host."""
        async with asyncio.timeout(patient(20)):
            while sum(len(host.messages) for host in self.hosts) < count:
                await asyncio.sleep(0.01)

    @property
    def most_open(self) -> int:
        """The most connections that any host had at a time."""
        return max(host.most_open for host in self.hosts)

    async def moves(self) -> int:
        """Return how often records were moved, all together."""
        events = self._outside.events.read(types=frozenset({EventType.MOVED}))
        return len([event async for event in events])


@pytest.fixture
async def cluster(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Cluster]:
    monkeypatch.setattr(router, "_KEPT", 0.05)  # so that there are many answers in a short time
    async with Cluster(tmp_path, request.param) as running:
        yield running


@pytest.mark.parametrize("cluster", [2, 5], indirect=True, ids=lambda count: f"{count} answers")
async def test_each_site_keeps_its_limit_while_answers_alternate(cluster: Cluster) -> None:
    zone = await cluster.zone(InTurn(*map(mx, range(len(cluster.hosts)))))
    for _ in range(3):
        await cluster.start(zone)
    await cluster.send(200, DOMAINS[0])
    await cluster.delivered(200)
    assert cluster.most_open == MOST
    assert await cluster.moves() <= 200 * 3, "two and a few more, of mail that was put off"


@pytest.mark.parametrize("cluster", [6], indirect=True, ids=["6 hosts"])
async def test_each_site_keeps_its_limit_while_resolvers_disagree(cluster: Cluster) -> None:
    """Each process always gets another answer than the others."""
    for process in range(3):
        zone = await cluster.zone(*(mx((number + process) % 6) for number in range(6)))
        await cluster.start(zone)
    await cluster.send(40, *DOMAINS)
    await cluster.delivered(240)
    assert cluster.most_open == MOST
    assert await cluster.moves() <= 240 * 3


@pytest.mark.parametrize("cluster", [3], indirect=True, ids=["3 answers"])
async def test_alternating_mail_flows_while_processes_come_and_go(cluster: Cluster) -> None:
    zone = await cluster.zone(InTurn(*map(mx, range(3))))
    await cluster.start(zone)
    await cluster.send(100, DOMAINS[0])
    second = await cluster.start(zone)
    await cluster.send(100, DOMAINS[0])
    await cluster.start(zone)
    await cluster.delivered(120)
    await second.aclose()
    await cluster.send(100, DOMAINS[0])
    await cluster.delivered(300)
    assert cluster.most_open == MOST


@pytest.mark.parametrize("cluster", [2], indirect=True, ids=["2 answers"])
async def test_mail_goes_to_new_hosts_as_soon_as_the_dns_has_them(cluster: Cluster) -> None:
    """That is also true of what waits for the former ones."""
    former, new = cluster.hosts
    zone = await cluster.zone(mx(0))
    for _ in range(3):
        await cluster.start(zone)
    await cluster.send(10, DOMAINS[0])
    await cluster.delivered(10)
    former.slowness = 0.5
    await cluster.send(60, DOMAINS[0])
    await cluster.delivered(14)
    zone.table[DOMAINS[0]] = mx(1)
    await cluster.send(40, DOMAINS[0])
    await cluster.delivered(110)
    assert len(new.messages) > 60  # without what waited it would be 40
    assert cluster.most_open == MOST
