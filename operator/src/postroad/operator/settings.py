"""The settings of the operator, from POSTROAD_… variables."""

import socket
from dataclasses import dataclass
from datetime import timedelta

from postroad.process.settings import group, setting
from postroad.queue.egress import EgressSettings
from postroad.queue.opening import NatsSettings
from postroad.spool.lanes.layout import MOST_CONSUMERS, Layout
from postroad.spool.lanes.owners import DEFAULT_POOL
from postroad.units.addresses import HostName, NameServer
from postroad.units.quantities import ByteSize


@dataclass(frozen=True, slots=True)
class LayoutSettings:
    """The queue as created at the first start; shards may be added later, lanes never change."""

    shards: int = setting(3, minimum=1, maximum=64)
    """Number of streams of the queue."""
    lanes: int = setting(32, minimum=1, maximum=256)
    """Lanes of each shard. They are fixed when the queue is created."""
    replicas: int = setting(1, minimum=1, maximum=5)
    """Copies of everything in the queue: 1, or 3 in a cluster of three servers."""
    capacity: ByteSize = setting(ByteSize(0))
    """One server's max_file_store: ingress refuses mail at 80 % of it. 0: unknown."""

    def __post_init__(self) -> None:
        if self.replicas % 2 == 0:
            raise ValueError("POSTROAD_QUEUE_REPLICAS must be 1, 3 or 5")

    @property
    def layout(self) -> Layout:
        """The layout to provision."""
        return Layout(self.shards, self.lanes, self.replicas)


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """The Lease that says which of several operators leads."""

    namespace: str = setting("default")
    """The operator's own namespace, which has its Lease. DomainGrants count only there."""
    name: str = setting("postroad-operator")
    """The name of the Lease."""


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """All settings of the operator."""

    nats: NatsSettings = group(NatsSettings)
    ingress_key_file: str = setting("ingress.key")
    """
    The file of the cluster key of ingress, which encrypts verifiers of passwords. While you replace
    a key: two files, separated by a comma. The first key encrypts, and both decrypt.
    """
    delivery_key_file: str = setting("delivery.key")
    """The same for delivery, whose key encrypts logins at smarthosts."""
    queue: LayoutSettings = group(LayoutSettings)
    lease: LeaseSettings = group(LeaseSettings)
    pod_name: str = setting("")
    """The name by which this process holds the Lease. Default: the machine's."""
    watch_namespaces: tuple[str, ...] = setting(())
    """
    The namespaces whose objects count besides the operator's own, separated by commas. Default:
    all.
    """
    pools: tuple[str, ...] = setting(())
    """
    Egress pools that have processes, separated by commas: /backlog lists them even while they are
    empty, and any Relay may name them, however many other pools Relays name.
    """
    hostname: HostName | None = None
    """The public name of ingress, which MX records should name. Without it they are not checked."""
    dns_checks: bool = setting(True)
    """Look up the MX, SPF and DMARC records of Domains, for their status."""
    resolver: NameServer | None = None
    """
    A DNS server to use instead of the system's: its IP address, and its port unless it is 53.
    Default: those in /etc/resolv.conf, which is read again when it changes.
    """
    egress: EgressSettings = group(EgressSettings)
    resync: timedelta = setting(timedelta(minutes=10), minimum=timedelta(seconds=10))
    """How often all objects are listed again, in case a watch has missed a change."""

    def __post_init__(self) -> None:
        pools = len({DEFAULT_POOL, *self.pools})
        needed = self.queue.layout.consumers(pools)
        if self.queue.replicas > 1 and needed > MOST_CONSUMERS:
            raise ValueError(
                f"POSTROAD_QUEUE_SHARDS, POSTROAD_QUEUE_LANES and POSTROAD_POOLS give the servers"
                f" {needed} consumers for {pools} pools, and at most {MOST_CONSUMERS} are allowed"
            )

    @property
    def identity(self) -> str:
        """The name in the Lease."""
        return self.pod_name or socket.gethostname()

    @property
    def followed(self) -> tuple[str, ...]:
        """The namespaces whose objects count, that of the DomainGrants among them; () means all."""
        own, named = self.lease.namespace, self.watch_namespaces
        return (*named, own) if named and own not in named else named

    @property
    def trusted(self) -> frozenset[str]:
        """The namespaces whose Domains need no proof: its own, and the only one it is to follow."""
        only = self.watch_namespaces if len(self.watch_namespaces) == 1 else ()
        return frozenset({self.lease.namespace, *only})

    @property
    def proving_hostname(self) -> str:
        """The name that a proof in the DNS has to have; "" where the DNS proves nothing."""
        return (self.hostname or "") if self.dns_checks else ""
