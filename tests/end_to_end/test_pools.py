"""Delivery processes of two pools keep a host's limits together and leave no mail behind."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from postroad.policy.model import EgressPath, ObjectKey, Rate, Relay, SiteLimits, TlsMode
from postroad.queue.configuration import publish_objects
from postroad.spool.interface import Deferred, Put, QueueState, Ready, Spool
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.testing.children import dies_with_us
from postroad.testing.keys import keyrings_in
from postroad.testing.patience import patient
from postroad.testing.peers.dns_server import Zone
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import CLIENT
from postroad.testing.queue.accounts import API_PREFIX, as_role, password_of
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import SECOND, now, record

ACCOUNTS = Path(__file__).parents[2] / "charts" / "postroad" / "files" / "nats-accounts.conf"
LIMITS = SiteLimits(connections=3, message_rate=Rate(24, timedelta(seconds=2)))
IN_HAND = 10  # records, the least: those of a process that was killed come again late
POOLS = {"a.test": "default", "b.test": "bulk"}

pytestmark = [pytest.mark.nats, pytest.mark.faults]


class TwoPools:
    """The queue, a host behind both domains, and delivery processes."""

    def __init__(self, folder: Path, server: NatsServer, zone: Zone, mx: ScriptedMx) -> None:
        self.mx = mx
        self._folder = folder
        self._server = server
        self._zone = zone
        self.processes: list[asyncio.subprocess.Process] = []

    def options(self, role: str) -> SpoolOptions:
        return as_role(role, self._server.url)

    async def prepare(self) -> Spool:
        """Make the queue, put a Relay of each pool into force; return ingress' side."""
        await provision(self.options("operator"), layout=SINGLE_MACHINE)
        operator = await connect(self.options("operator"))
        await operator.close()
        await self.publish(POOLS)
        return await connect(self.options("ingress"))

    async def publish(self, pools: Mapping[str, str]) -> None:
        """Put a Relay for each domain into force, and no others."""
        operator = await connect(self.options("operator"))
        relays = {
            f"relay.shop.{domain[0]}": Relay(
                ObjectKey("shop", domain[0]), (domain,), _egress_path(pool)
            )
            for domain, pool in pools.items()
        }
        await publish_objects(operator, dict(relays), keyrings_in(self._folder))
        await operator.close()

    async def empty(self) -> None:
        """Wait until nothing is left in the queue that could come once more."""
        command = await connect(self.options("command"))
        while await command.waiting.counts():
            await asyncio.sleep(0.1)
        await command.close()

    async def start(self, pool: str) -> asyncio.subprocess.Process:
        """Start the delivery process of a pool, as Kubernetes or `up` does."""
        host, port = self._zone.address
        own = {
            "POSTROAD_NATS_URL": self._server.url,
            "POSTROAD_NATS_USER": "delivery",
            "POSTROAD_NATS_PASSWORD": password_of("delivery"),
            "POSTROAD_NATS_API_PREFIX": API_PREFIX,
            "POSTROAD_CLUSTER_KEY_FILE": str(self._folder / "delivery.key"),
            "POSTROAD_PROCESS": f"delivery-{pool}",
            "POSTROAD_POOL": pool,
            "POSTROAD_RESOLVER": f"{host}:{port}",
            "POSTROAD_SMTP_PORT": str(self.mx.port),
            "POSTROAD_ALLOW_PRIVATE_MX": "true",
            "POSTROAD_IN_HAND": str(IN_HAND),
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-Im", "postroad.delivery"),
            stdout=asyncio.subprocess.DEVNULL,
            env=os.environ | own,
            preexec_fn=dies_with_us(),
        )
        self.processes.append(process)
        return process


def _egress_path(pool: str) -> EgressPath:
    return EgressPath(f"relay:shop/{pool}", tls=TlsMode.NONE, pool=pool, limits=LIMITS)


async def put(spool: Spool, domain: str, count: int, place: QueueState | None = None) -> None:
    for number in range(count):
        queue_id = spool.new_queue_id(now())
        queued = record(queue_id, f"{number}@{domain}", origin=CLIENT, pool=POOLS[domain])
        puts = [Put(queued, place or Ready())]
        await spool.accept(queue_id, lambda _, p=puts: p, timeout=patient(5) * SECOND)  # type: ignore[misc]


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[TwoPools]:
    table = {
        "a.test": ["MX 10 mx.big.test."],
        "b.test": ["MX 10 mx.big.test."],
        "mx.big.test": ["A 127.0.0.1"],
    }
    async with (
        NatsServer(tmp_path, accounts=ACCOUNTS) as server,
        Zone(table) as zone,
        ScriptedMx(slowness=0.15) as mx,
    ):
        two = TwoPools(tmp_path, server, zone, mx)
        yield two
        for process in two.processes:
            if process.returncode is None:
                process.kill()
            await process.wait()
        assert "Violation" not in server.log


# Some 12 s: a hundred messages at twelve a second, and three starts of a process.
async def test_the_limits_of_a_site_hold_for_two_pools_also_when_one_is_killed(
    two: TwoPools,
) -> None:
    ends: list[float] = []

    def hear(line: bytes, _: int) -> None:
        if line == b".":
            ends.append(time.monotonic())

    two.mx.script = hear
    ingress = await two.prepare()
    for domain in POOLS:
        await put(ingress, domain, 60)
    await two.start("default")
    bulk = await two.start("bulk")
    async with asyncio.timeout(patient(40)):
        await two.mx.received(40)
        while of(two.mx, "b.test") <= 5:  # it is to have its part first, whoever began
            await two.mx.received(len(two.mx.messages) + 1)
        bulk.kill()
        await bulk.wait()
        two.mx.history.append(f"{asyncio.get_running_loop().time():.3f} a process was killed")
        before = of(two.mx, "b.test")
        await two.start("bulk")
        await two.mx.received(90)
    await ingress.close()
    assert of(two.mx, "b.test") > before
    assert two.mx.most_open <= LIMITS.connections, "\n".join(two.mx.history)
    window = 1.3  # seconds of the two: a message ends later than it begins, when busy by much
    assert max(sum(at <= end < at + window for end in ends) for at in ends) <= 24


# Some 15 s: a process finds out in 10 s at most what a look just before it did not show.
@pytest.mark.parametrize("pods", [False, True], ids=["without pods", "with pods"])
async def test_mail_of_a_pool_that_no_relay_names_any_more_leaves_after_a_restart(
    two: TwoPools, pods: bool
) -> None:
    """Ready mail, and mail that was deferred while a Relay named it, by the Relays as they are."""
    ingress = await two.prepare()
    await put(ingress, "b.test", 20)
    await put(ingress, "b.test", 5, Deferred(now() + timedelta(seconds=6)))
    await two.publish(dict.fromkeys(POOLS, "default"))
    if pods:
        await two.start("bulk")
    await two.start("default")
    async with asyncio.timeout(patient(60)):
        await two.mx.received(25)
        await two.empty()
    await ingress.close()
    assert of(two.mx, "b.test") == len(two.mx.messages) == 25
    assert two.mx.most_open <= LIMITS.connections


def of(mx: ScriptedMx, domain: str) -> int:
    """Return how many messages of a domain have come."""
    return sum(domain.encode() in each.recipients[0] for each in mx.messages)
