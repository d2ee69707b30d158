"""
Plays one seed, from its first message to the last check.

Mail comes in while faults happen at steps that the seed chooses. Then all faults end and the hosts
behave well, so that the rest is delivered, bounced or held. Then the result is judged.
"""

import asyncio
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from postroad.manifests.compiler.result import Compiled
from postroad.queue.configuration import publish_objects
from postroad.spool.agreement import Order
from postroad.spool.interface import Put as StoredPut
from postroad.spool.lanes.keys import Key
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.spool.record import BlobRef
from postroad.spool.selection import Selection
from postroad_harness.simulation.aims import Aim, draw
from postroad_harness.simulation.clients import Sender
from postroad_harness.simulation.faults import Faults
from postroad_harness.simulation.hosts import Host, HostSession
from postroad_harness.simulation.judgement import judge
from postroad_harness.simulation.ledger import Ended, Ledger, Put
from postroad_harness.simulation.link import SimulatedLink
from postroad_harness.simulation.moved_clock import moved_clock, moved_now
from postroad_harness.simulation.network import Listener, Network, Reachable
from postroad_harness.simulation.packs.store import PackedStore
from postroad_harness.simulation.processes import (
    KEYRINGS,
    DeliveryProcess,
    IngressProcess,
    Surroundings,
)
from postroad_harness.simulation.scenario import RETRY, Scenario
from postroad_harness.simulation.servers import SimulatedServers
from postroad_harness.simulation.spool import LAYOUT, WatchedConsumer

_MOST_STEPS = 400_000
_CHAOS = 50.0  # seconds in which faults happen
_LONGEST = 900.0  # seconds until the result is judged, even if mail is left
_LOOK = 2.5
_TOKEN = re.compile(rb"^X-Token: (\S+)\r$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a seed."""

    seed: int
    violations: tuple[str, ...]
    trace: str
    steps: int
    seconds: float  # of simulated time
    faults: tuple[str, ...]
    copies: int
    duplicates: int


def play(
    seed: int, *, consumer: type[WatchedConsumer] = WatchedConsumer, aim: Aim | None = None
) -> Result:
    """Play a seed and judge it."""
    scenario = draw(seed, aim)
    dice = random.Random(seed + 1)
    network = Network(most_steps=_MOST_STEPS, dice=dice)  # type: ignore[abstract]
    with moved_clock(network.time, seed):
        performance = Performance(scenario, network, dice, consumer)
        try:
            network.run(performance.run())
            ledger = performance.ledger
            judge(ledger, scenario, performance.around.cluster)
        finally:
            network.end()
    ledger.violations += [f"an error nobody caught: {each}" for each in network.errors]
    return Result(
        seed=seed,
        violations=tuple(ledger.violations),
        trace=f"{ledger.trace:08x}-{network.steps}",
        steps=network.steps,
        seconds=network.time(),
        faults=tuple(
            f"{each.start:.3f} s: {each.kind} of {each.process} until {each.end:.3f} s"
            for each in ledger.troubles
        ),
        copies=sum(len(copies) for copies in ledger.copies.values()),
        duplicates=sum(len(copies) - 1 for copies in ledger.copies.values()),
    )


class Performance:
    """The cluster of one seed, at work."""

    def __init__(
        self,
        scenario: Scenario,
        network: Network,
        dice: random.Random,
        consumer: type[WatchedConsumer],
    ) -> None:
        self.scenario = scenario
        self.network = network
        self.ledger = Ledger()
        self.store = PackedStore(clock=moved_now(network.time), shards=1, lanes=LAYOUT.lanes)
        self.servers = SimulatedServers(network, self.store)
        self.servers.on_stored = self._stored
        self.servers.on_acked = self._acked
        self._dice = dice
        cluster = MemoryCluster(self.store)
        zone = {domain: f"198.51.100.{n}" for n, domain in enumerate(scenario.tempers, 1)}
        self.hosts = {zone[domain]: self._host(domain, zone) for domain in scenario.tempers}
        self.around = Surroundings(
            network, self.servers, cluster, self.ledger, dice, zone, scenario.room, consumer
        )
        self.around.pools, self.around.hosts = scenario.pools, scenario.hosts
        self.around.gives_orders = scenario.retried is not None
        self.faults = Faults(scenario, self.around, self.start_process)
        self.around.on_death = self.faults.died
        self.store.on_fired = self.faults.fired
        self._doors = [("192.0.2.10", 25), ("192.0.2.11", 25)][: scenario.ingresses]

    def _host(self, domain: str, zone: dict[str, str]) -> Host:
        temper = self.scenario.tempers[domain]
        site = f"mx.{domain}"
        return Host(domain, zone[domain], site, temper, self.ledger, self._dice, self.network)

    async def run(self) -> None:
        """Play."""
        for host in self.hosts.values():
            self.network.listeners[host.address, 25] = Listener(
                self.network,
                (host.address, 25),
                lambda host=host: HostSession(host),  # type: ignore[misc]
            )
        self.network.reachable = self._reachable
        await self._publish(self.scenario.first_objects)
        for number in range(self.scenario.ingresses):
            self.start_process(f"ingress-{number}")
        for number in range(self.scenario.deliveries):
            self.start_process(f"delivery-{number}")
        if self.scenario.joins is not None:
            another = f"delivery-{self.scenario.deliveries}"
            self.network.call_later(
                self.scenario.joins, self.start_process, another, context=self.network.world
            )
        scenario, faults = self.scenario, self.faults
        moments = (
            (scenario.falls, faults.fall),
            (scenario.drains, faults.drain),
            (scenario.silent, faults.fall_silent),
        )
        for at, happens in moments:
            if at is not None:
                self.network.call_later(at, happens, context=self.network.world)
        self.network.before_step = self.faults.before_step
        sender = Sender(self.network, self._doors, self.ledger, self._dice)
        letters = [asyncio.create_task(sender.send(letter)) for letter in self.scenario.letters]
        if self.scenario.renamed is not None:
            letters.append(asyncio.create_task(self._rename(self.scenario.renamed)))
        if self.scenario.retried is not None:
            letters.append(asyncio.create_task(self._retry(self.scenario.retried)))
        while self._is_wild(letters):  # noqa: ASYNC110 - time jumps
            await asyncio.sleep(_LOOK)
        self.faults.mend()
        for host in self.hosts.values():
            host.calm = True
        await asyncio.gather(*letters)
        while self.network.time() < _LONGEST and self._waits():  # noqa: ASYNC110 - time jumps
            await asyncio.sleep(_LOOK)

    async def _publish(self, objects: Compiled) -> None:
        operator = MemorySpool(self.around.cluster, role="operator")
        await publish_objects(operator, objects.entries, KEYRINGS)

    async def _rename(self, at: float) -> None:
        await asyncio.sleep(at)
        await self._publish(self.scenario.objects)

    async def _retry(self, every: float) -> None:
        """Order, again and again, that what is deferred be tried at once."""
        command = MemorySpool(self.around.cluster, role="command")
        while self.network.time() < _CHAOS:
            await asyncio.sleep(every)
            now = self.store.clock()
            name = f"retry at {now.isoformat()}"
            until = now + timedelta(seconds=every)
            await command.orders.place(Order(name, "retry", Selection(), now, until, None))

    def _is_wild(self, letters: Sequence["asyncio.Task[None]"]) -> bool:
        """Whether there is time, and mail, for more faults."""
        done = all(letter.done() for letter in letters) and not self.store.records
        return self.network.time() < _CHAOS and not (done and self.servers.up)

    def _waits(self) -> bool:
        """Whether anything is left in the queue that will still move."""
        limit = self.store.clock() + 2 * RETRY.lifetime
        return any(
            stored.due is None or stored.due < limit for stored in self.store.records.values()
        )

    def _reachable(self, address: tuple[str, int]) -> Reachable:
        host = self.hosts.get(address[0])
        return host.met() if host is not None else Reachable.YES

    def start_process(self, name: str) -> IngressProcess | DeliveryProcess:
        """Start a process, or another life of one: names are `<role>-<number>[.<life>]`."""
        role, _, rest = name.partition("-")
        process: IngressProcess | DeliveryProcess
        if role == "ingress":
            door = self._doors[int(rest.partition(".")[0])]
            process = IngressProcess(name, self.around, door)
        else:
            process = DeliveryProcess(name, self.around)
        self.faults.processes[name] = process
        process.start()
        return process

    # ------------------------------------------------------------ what the servers see

    def _stored(self, put: StoredPut, link: SimulatedLink, late: bool) -> None:
        record, now = put.record, self.network.time()
        content = record.header if isinstance(record.content, BlobRef) else record.content
        token = _TOKEN.search(content)
        self.ledger.note(now, "stored", str(record.record_id), record.step, link.process.name)
        self.faults.stored(put, link.process)
        self.ledger.puts.append(
            Put(
                now,
                link.process.name,
                token[1].decode() if token else "",
                str(record.record_id),
                record.record_id.queue_id,
                record.step,
                record.domain,
                late,
            )
        )

    def _acked(self, key: Key, link: SimulatedLink) -> None:
        stored = self.store.records.get(key)
        if stored is not None and not self.store.is_open(stored):
            now = self.network.time()
            self.ledger.note(now, "acked", key.token, link.process.name)
            self.ledger.ended_records.append(
                Ended(now, link.process.name, str(stored.record.record_id))
            )
