"""
What every scenario on a cluster uses: a release, the objects of two tenants, a place outside.

The far end is one sink for the whole run, so that a relay that keeps its sessions finds it again.
There are two tenants: the namespace `…-mail` has the Relay that sends all mail to the sink, and
`…-shop` sends mail through it.
"""

import asyncio
import os
import socket
from dataclasses import dataclass, field
from typing import Any

from postroad.cli.sink.server import Sink
from postroad.cli.sink.session import SinkProtocol
from postroad.testing.peers.certificates import tls_pair
from postroad.testing.peers.dns_server import Zone
from postroad_harness.cluster import kube
from postroad_harness.cluster.kube import Object, kubectl
from postroad_harness.cluster.outside import Balancer, Place, open_place
from postroad_harness.cluster.release import (
    Release,
    base_namespace,
    make_namespace,
    node_addresses,
    resource,
    secret,
)
from postroad_harness.flow import Arrivals, Flow

SINK = 2526
DNS = 5353
HOSTNAME = "relay.shop.example"
BALANCED = "192.0.2.77"  # whom a PROXY header names
SENDER = "orders@shop.example"
BY_MX = "to@mx-only.example"
_TLS = "relay-tls"


@dataclass
class Scene:
    """The scene of all scenarios; `open_scene` makes one."""

    place: Place
    release: Release
    sink: Sink
    arrivals: Arrivals
    balancer: Balancer | None = None
    certificate: str = ""
    _background: list[asyncio.Task[None]] = field(default_factory=list)
    _servers: list[asyncio.Server] = field(default_factory=list)
    _names: asyncio.BaseTransport | None = None

    @property
    def mail(self) -> str:
        """The namespace of those who run the relay."""
        return f"{self.release.namespace}-mail"

    @property
    def shop(self) -> str:
        """The namespace of those who send."""
        return f"{self.release.namespace}-shop"

    def flow(self, recipients: tuple[str, ...] = ("to@far.example",), **how: Any) -> Flow:
        """Return a flow of the shop's mail; `async with` begins it."""
        assert self.balancer is not None
        how = {"connect": self.balancer.connect, "sender": SENDER, **how}
        return Flow(arrivals=self.arrivals, recipients=recipients, **how)

    async def prepare(self) -> None:
        """Create the namespaces, and the certificate that the release uses."""
        await make_namespace(self.release.namespace)
        for tenant in (self.mail, self.shop):
            await make_namespace(tenant)
        await self.show_certificate("first")

    async def show_certificate(self, organisation: str) -> None:
        """Put a new certificate into the release's Secret."""
        self.certificate, key = tls_pair(HOSTNAME, organisation)
        data = {"tls_crt": self.certificate, "tls_key": key}
        await kube.apply(secret(self.release.namespace, _TLS, "kubernetes.io/tls", **data))

    async def declare(self) -> None:
        """Apply the tenants' objects and wait until they are in force."""
        await kube.apply(*self.objects())
        for thing in self.objects():
            await ready(thing)

    def objects(self) -> list[Object]:
        """Return the Relay, Domain, Client and Quota that the flow needs."""
        relay = {"name": "out", "namespace": self.mail}
        limits = [{"messages": 1_000_000, "per": "1h"}]
        retry = {"first": "1s", "factor": 1.5, "max": "5s", "lifetime": "1h", "delayWarning": "0s"}
        shared = {"retry": retry, "tls": {"mode": "None"}, "allowedNamespaces": {"from": "All"}}
        hosts = [{"host": self.place.address, "port": SINK}]
        return [
            resource("Relay", self.mail, "out", destinations=["*"], smarthosts=hosts, **shared),
            resource("Domain", self.shop, "shop", domain="shop.example", send={"relayRef": relay}),
            resource(
                *("Client", self.shop, "webshop"),
                networks=[self.place.network, f"{BALANCED}/32"],
                senders=[f"*@{name}.example" for name in ("shop", "direct", "limited", "patient")],
            ),
            resource("Quota", self.shop, "hourly", subject={"namespace": self.shop}, limits=limits),
            resource("Relay", self.shop, "direct", destinations=["*"], mx={}, **shared),
            resource(
                *("Domain", self.shop, "direct"),
                domain="direct.example",
                send={"relayRef": {"name": "direct"}},
            ),
            resource(
                *("Domain", self.shop, "limited"),
                domain="limited.example",
                send={"relayRef": relay},
            ),
        ]

    async def find_ways(self) -> None:
        """Learn how the Service is reached, and follow the nodes' health from now on."""
        self._stop_background()
        self.balancer = Balancer(self.place, *await self.release.ways(self.place))
        self._background = [asyncio.create_task(self.balancer.follow())]

    def _stop_background(self) -> None:
        for task in self._background:
            task.cancel()

    async def serve(self) -> None:
        """Open the far end and its names."""
        loop = asyncio.get_running_loop()
        self.sink.on_taken = self.arrivals.note
        await self.listen(SINK)
        names = Zone(
            {
                "mx-only.example": ["MX 10 mx.mx-only.example"],
                "mx.mx-only.example": [f"A {self.place.address}"],
            }
        )
        opened = await self.place.socket(socket.SOCK_DGRAM)
        opened.bind((self.place.address, DNS))
        self._names, _ = await loop.create_datagram_endpoint(lambda: names, sock=opened)

    async def listen(self, port: int) -> None:
        """Accept mail at the far end on one more port."""
        loop = asyncio.get_running_loop()
        listener = await self.place.listen(port)
        self._servers.append(
            await loop.create_server(lambda: SinkProtocol(self.sink), sock=listener)
        )

    async def close(self) -> None:
        """End everything but the release."""
        self._stop_background()
        await asyncio.gather(*self._background, return_exceptions=True)
        for server in self._servers:
            server.close()
        if self._names is not None:
            self._names.close()
        await self.sink.hang_up()
        await self.place.close()


async def open_scene() -> Scene:
    """Open the place outside and describe the release; nothing is installed yet."""
    place = await open_place(await node_addresses())
    scene = Scene(place, Release(base_namespace(), _values(place)), Sink(), Arrivals())
    await scene.serve()
    return scene


def _values(place: Place) -> dict[str, Any]:
    kind = os.environ.get("POSTROAD_E2E_SERVICE", "LoadBalancer")
    service = {"type": kind, "externalTrafficPolicy": "Local"}
    return {
        "hostname": HOSTNAME,
        "ingress": {
            "replicas": 2,
            "service": service,
            "proxyProtocol": {
                "enabled": True,
                "trustedNetworks": [place.network],
                "service": service,
            },
            "tls": {"existingSecret": _TLS},
        },
        "delivery": {
            "replicas": 2,
            "smtpPort": SINK,
            "allowPrivateMx": True,
            "resolver": f"{place.address}:{DNS}",
        },
        # Tenants come and go; the Client of one of them is known by its network.
        "operator": {"clusterWide": True, "networkNamespaces": [f"{base_namespace()}-shop"]},
        # Never two servers on one node: a node that dies must not take the quorum with it.
        "nats": {
            "replicas": 3,
            "storage": {"size": "2Gi"},
            "whenUnsatisfiable": "DoNotSchedule",
        },
    }


async def ready(thing: Object, *, seconds: float = 60) -> None:
    """Wait until an object is Ready, as users would."""
    await wait(thing, "Ready", seconds=seconds)


async def wait(thing: Object, kind: str, status: str = "True", *, seconds: float = 60) -> None:
    """Wait for a condition of an object with `kubectl wait`."""
    name = f"{thing['kind'].lower()}s.postroad.dev/{thing['metadata']['name']}"
    words = ("wait", "-n", thing["metadata"]["namespace"], name)
    await kubectl(
        *words, f"--for=condition={kind}={status}", f"--timeout={seconds:.0f}s", seconds=seconds + 5
    )
