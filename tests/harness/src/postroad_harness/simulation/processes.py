"""
Ingress and delivery processes, put together as in the product, over a simulated queue and network.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast
from weakref import WeakKeyDictionary

from postroad.acceptance.admission import ListenerKind
from postroad.acceptance.incoming import AcceptanceTools
from postroad.acceptance.quotas import Allowed, Quotas
from postroad.delivery.context import AttemptContext, WorkerContext
from postroad.delivery.dispatch.orders import OrderKeeper
from postroad.delivery.dispatch.worker import Worker
from postroad.delivery.routing.addresses import AddressRules
from postroad.delivery.routing.router import Router, RouterSettings
from postroad.delivery.settling.dsn import Notifier
from postroad.delivery.sites.pool import SessionPool
from postroad.dns.answers import AddressAnswer, DnsFailure, MxAnswer
from postroad.dns.questions.lines import Asker
from postroad.dns.resolver import Resolver
from postroad.ingress import refusal_counts
from postroad.ingress.auth.logins import Logins
from postroad.ingress.auth.sasl import Passwords
from postroad.ingress.limits import IngressLimits
from postroad.ingress.listen.server import Server
from postroad.policy.limits.quota import Sending
from postroad.policy.limits.quota_ledger import Exceeded, Spent
from postroad.policy.secrets.seal import Reader
from postroad.policy.snapshot import Snapshot
from postroad.queue.configuration import Configuration
from postroad.smtp.server.content import LineEnds
from postroad.smtp_client.peer import Timeouts
from postroad.spool.agreement import QuotaCounters
from postroad.spool.errors import SpoolError
from postroad.spool.ids import RecordId
from postroad.spool.lanes.keys import Key
from postroad.spool.memory.spool import MemoryCluster
from postroad.testing.keys import keyrings
from postroad.units.quantities import ByteSize
from postroad_harness.simulation.ledger import Ended, Ledger, Price
from postroad_harness.simulation.link import SimulatedLink
from postroad_harness.simulation.loop import SimulatedProcess
from postroad_harness.simulation.network import Network
from postroad_harness.simulation.servers import SimulatedServers
from postroad_harness.simulation.spool import SimulatedSpool, WatchedConsumer

KEYRINGS = keyrings()
NAME = "relay.test"
TIMEOUTS = Timeouts(
    connect=timedelta(seconds=5),
    greeting=timedelta(seconds=20),
    command=timedelta(seconds=20),
    data=timedelta(seconds=15),
    block=timedelta(seconds=15),
    final_dot=timedelta(seconds=40),
    farewell=timedelta(seconds=2),
)


@dataclass
class Surroundings:
    """The environment of every process of a seed. `zone` has each domain's address."""

    network: Network
    servers: SimulatedServers
    cluster: MemoryCluster
    ledger: Ledger
    dice: random.Random
    zone: dict[str, str]
    room: int
    consumer: type[WatchedConsumer] = WatchedConsumer
    pools: tuple[str, ...] = ("default",)
    hosts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    gives_orders: bool = False  # somebody does, so that they are looked after
    on_death: Callable[[str], None] = lambda _: None


class _SimulatedResolver(Resolver):
    """A resolver that knows a table and asks nobody. Of several hosts, each answer names one."""

    def __init__(self, around: Surroundings) -> None:
        self._zone = around.zone
        self._hosts = around.hosts
        self._dice = around.dice

    async def mx(self, domain: str, asker: Asker | None = None) -> MxAnswer:
        if domain in self._zone:
            hosts = self._hosts.get(domain, (domain,))
            host = self._dice.choice(hosts) if len(hosts) > 1 else hosts[0]
            return MxAnswer(((10, f"mx.{host}"),))
        return MxAnswer((), DnsFailure.NO_SUCH_NAME, "no such domain")

    async def addresses(self, host: str, asker: Asker | None = None) -> AddressAnswer:
        return AddressAnswer((self._zone[host.removeprefix("mx.")],))

    def knows_hosts(self, domain: str) -> bool:
        """The table is at hand."""
        return True


class _WatchedQuotas(Quotas):
    """
    Tells the ledger what was spent, at the moment the product decides so, and for which message.

    A session has one message at a time: its task takes what it costs, then stores it.
    """

    def __init__(self, usage: QuotaCounters, ledger: Ledger) -> None:
        super().__init__(usage)
        self._ledger_of_all = ledger
        self._prices: WeakKeyDictionary[object, tuple[Price, ...]] = WeakKeyDictionary()

    async def take(self, snapshot: Snapshot, sending: Sending) -> Allowed | Exceeded:
        outcome = await super().take(snapshot, sending)
        if isinstance(outcome, Allowed):
            for demand in outcome.spent.demands:
                key = f"{demand.key} of {demand.maximum}"
                self._ledger_of_all.spent[key] += demand.amount
                if self._ledger_of_all.spent[key] > demand.maximum:
                    self._ledger_of_all.violations.append(f"a quota was exceeded: {key}")
            self._prices[asyncio.current_task()] = tuple(
                Price(each.key, each.amount, each.maximum) for each in outcome.spent.demands
            )
        return outcome

    def storing(self, queue_id: str) -> None:
        """The message that the present task has paid for is to be stored."""
        self._ledger_of_all.prices[queue_id] = self._prices.pop(asyncio.current_task(), ())

    def refund(self, spent: Spent) -> None:
        super().refund(spent)
        for demand in spent.demands:
            self._ledger_of_all.spent[f"{demand.key} of {demand.maximum}"] -= demand.amount


class RunningProcess(ABC):
    """One life of a process: from its start to its stop or crash."""

    def __init__(self, name: str, around: Surroundings) -> None:
        self.around = around
        self.simulated = SimulatedProcess(name)
        self.link = SimulatedLink(self.simulated, around.network, around.servers, around.dice)
        around.servers.links.append(self.link)

    def start(self) -> None:
        """Begin, in a context of its own."""
        self._spawn(self._live())

    async def _live(self) -> None:
        """Run, and end as a process does one of whose parts died: it is started again."""
        try:
            await self._main()
        except SpoolError:
            self.around.on_death(self.simulated.name)

    @abstractmethod
    async def _main(self) -> None:
        """Be the process, until it is stopped or dies."""

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.around.network.create_task(work, context=self.simulated.context)

    async def _join(self, role: str, pool: str = "default") -> tuple[SimulatedSpool, Configuration]:
        around = self.around
        spool = SimulatedSpool(
            around.cluster, self.link, role=role, pool=pool, consumer=around.consumer
        )
        await spool.start()
        configuration = Configuration(spool, KEYRINGS)
        self._spawn(configuration.run())
        await configuration.wait_loaded()
        return spool, configuration


class IngressProcess(RunningProcess):
    """An ingress process; it listens at `address`."""

    def __init__(self, name: str, around: Surroundings, address: tuple[str, int]) -> None:
        super().__init__(name, around)
        self._address = address

    async def _main(self) -> None:
        spool, configuration = await self._join("ingress")
        quotas = _WatchedQuotas(spool.real_usage, self.around.ledger)
        spool.on_accept = quotas.storing
        self._spawn(quotas.run())
        limits = IngressLimits(inline_size=ByteSize(1024))
        tools = AcceptanceTools(
            spool, quotas, limits, NAME, self.simulated.name, count_refusal=refusal_counts.count
        )
        server = Server(
            tools,
            limits,
            Logins(Passwords(KEYRINGS[Reader.INGRESS]), tools, limits),
            configuration,
            None,
            insecure_auth=False,
            line_ends=LineEnds.NONE,
        )
        await server.listen(ListenerKind.RELAY, cast(Any, self._address))
        self._spawn(server.sweep())


class DeliveryProcess(RunningProcess):
    """A delivery process."""

    def __init__(self, name: str, around: Surroundings) -> None:
        super().__init__(name, around)
        self.worker: Worker | None = None

    async def _main(self) -> None:
        around = self.around
        number = int(self.simulated.name.partition("-")[2].partition(".")[0])
        pool = around.pools[number % len(around.pools)]
        spool, configuration = await self._join("delivery", pool)
        spool.on_ended = self._ended
        consumer = spool.take_lanes(room=around.room)
        consumer.on_permitted = self._check_lease
        settings = RouterSettings(
            smtp_port=25, rules=AddressRules(allow_private=True), own_names=frozenset({NAME})
        )
        tools = WorkerContext(
            spool=spool,
            consumer=consumer,
            configuration=configuration,
            router=Router(_SimulatedResolver(around), settings),
            attempts=AttemptContext(
                spool, consumer, SessionPool(), NAME, TIMEOUTS, long_enough=consumer.long_enough
            ),
            notifier=Notifier(NAME),
            process=self.simulated.name,
            pool=pool,
            in_hand=around.room,
        )
        self.worker = Worker(tools)
        if around.gives_orders:
            self._spawn(OrderKeeper(tools, obey=self.worker.obey).run())
        await self.worker.run()

    def _ended(self, record_id: str) -> None:
        """Note what the history tells: from then on no other process repeats it."""
        now, name = self.around.network.time(), self.simulated.name
        told = RecordId.parse(record_id)
        for each in {told, told.former}:
            self.around.ledger.ended_records.append(Ended(now, name, str(each)))

    def _check_lease(self, key: Key, link: SimulatedLink) -> None:
        if not self.around.servers.has_lease(key, link):
            now = self.around.network.time()
            self.around.ledger.violations.append(
                f"at {now:.3f} s {self.simulated.name} went on with record {key.token}"
                " past its lease's deadline"
            )

    async def stop(self) -> None:
        """Stop as a process does that was asked to."""
        if self.worker is not None:
            await self.worker.drain(seconds=10)
