"""An ingress on loopback with a queue in memory, for tests."""

import asyncio
import dataclasses
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from postroad.acceptance.admission import ListenerKind
from postroad.acceptance.incoming import AcceptanceTools
from postroad.acceptance.quotas import Quotas
from postroad.ingress import refusal_counts
from postroad.ingress.auth.logins import Logins
from postroad.ingress.auth.sasl import Passwords
from postroad.ingress.limits import IngressLimits
from postroad.ingress.listen.certificate import Certificate, self_signed
from postroad.ingress.listen.server import Server
from postroad.mail.ip_address import Network
from postroad.manifests.compiler.check import check
from postroad.policy.secrets.seal import Reader
from postroad.process.sockets import listen
from postroad.queue.configuration import Configuration, publish_objects
from postroad.smtp.server.content import LineEnds
from postroad.spool.interface import Spool
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.spool.record import QueueRecord
from postroad.testing.keys import keyrings
from postroad.testing.patience import patient
from postroad.testing.peers.smtp_peer import SmtpPeer, client_context
from postroad.testing.streams import hang_up
from postroad.units.addresses import ListenAddress

_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
KEYRINGS = keyrings()

# 127.0.0.1 may relay as anyone at near.example; the shop logs in; here.example receives.
MANIFESTS = """\
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {name: out}
spec: {destinations: ["*"], mx: {}}
---
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: network}
spec: {networks: [127.0.0.1/32], senders: ["*@near.example"]}
---
apiVersion: v1
kind: Secret
metadata: {name: shop}
stringData: {username: shop, password: correct horse}
---
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: shop}
spec: {auth: {secretRef: {name: shop}}, senders: ["*@shop.example"], class: Bulk}
---
apiVersion: postroad.dev/v1alpha1
kind: Domain
metadata: {name: here}
spec:
  domain: here.example
  receive:
    route: {hosts: [{host: real.here.example}]}
    recipients: {mode: List, addresses: [known@here.example]}
  send: {relayRef: {name: out}}
"""


@dataclass
class Scene:
    """One ingress, and what tests need of it."""

    server: Server
    passwords: Passwords
    spool: MemorySpool
    configuration: Configuration
    quotas: Quotas
    certificate: Certificate
    ports: dict[ListenerKind, int] = field(default_factory=dict)
    proxy_ports: dict[ListenerKind, int] = field(default_factory=dict)
    peers: list[SmtpPeer] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def peer(self, kind: ListenerKind = ListenerKind.RELAY) -> SmtpPeer:
        """Open a session and read the greeting."""
        peer = await self.connect(kind)
        assert (await peer.reply()).startswith("220 ")
        return peer

    async def connect(self, kind: ListenerKind = ListenerKind.RELAY) -> SmtpPeer:
        """Open a connection."""
        context = client_context() if kind is ListenerKind.SUBMISSIONS else None
        port = self.ports[kind]
        peer = SmtpPeer(*await asyncio.open_connection("127.0.0.1", port, ssl=context))
        self.peers.append(peer)
        return peer

    @property
    def records(self) -> list[QueueRecord]:
        """The records in the queue, in the order in which they were stored."""
        return [stored.record for stored in self.spool.store.records.values()]

    async def peer_from(self, client: str, kind: ListenerKind) -> SmtpPeer:
        """Connect as a client with this address behind a load balancer; read the greeting."""
        peer = SmtpPeer(*await asyncio.open_connection("127.0.0.1", self.proxy_ports[kind]))
        self.peers.append(peer)
        family = "TCP6" if ":" in client else "TCP4"
        other = "2001:db8::25" if ":" in client else "192.0.2.25"
        peer.writer.write(f"PROXY {family} {client} {other} 40000 25\r\n".encode())
        await peer.reply()
        return peer

    async def body(self, number: int = 0) -> bytes:
        """Return a record's content, without the trace field."""
        record = self.records[number]
        whole = b"".join([chunk async for chunk in self.spool.read_body(record)])
        return whole.removeprefix(record.trace)

    async def configure(self, manifests: str, folder: Path) -> None:
        """Publish manifests, as `postroad up` does, and wait until they are in force."""
        file = folder / "manifests.yaml"
        file.write_text(manifests)
        mistakes, compiled = check([file], keyrings=KEYRINGS)
        assert not mistakes, mistakes
        generation = await publish_objects(self.spool, compiled.entries, KEYRINGS)
        async with asyncio.timeout(patient(5)):
            while (now := self.configuration.current) is None or now.generation < generation:
                await self.configuration.changed()

    async def end(self) -> None:
        """Close the connections, and stop as a process does."""
        for peer in self.peers:
            # asyncio never ends TLS if nobody reads and the other side has closed.
            peer.writer.transport.abort()
            await hang_up(peer.writer)
        await self.server.drain(seconds=5)
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.passwords.close()
        await self.spool.close()


OpenScene = Callable[..., Awaitable[Scene]]


async def start_ingress(
    *,
    tls: Path,
    cluster: MemoryCluster | None = None,
    queue: Spool | None = None,
    insecure_auth: bool = False,
    line_ends: LineEnds = LineEnds.SUBMITTED,
    trusted: Sequence[Network] = _LOOPBACK,
    **limits: object,
) -> Scene:
    """
    Start an ingress with all three listeners; the certificate is in the folder `tls`.

    Each listener also has a port behind load balancers in the networks `trusted`. Mail goes into
    the scene's queue in memory, or into `queue`.
    """
    spool = MemorySpool(cluster, role="ingress")
    used = queue or spool
    configuration = Configuration(used, {Reader.INGRESS: KEYRINGS[Reader.INGRESS]})
    certificate = self_signed(tls, "relay.test")
    quotas = Quotas(used.usage)
    process_limits = dataclasses.replace(IngressLimits(), **limits)  # type: ignore[arg-type]
    tools = AcceptanceTools(
        spool=used,
        quotas=quotas,
        limits=process_limits,
        hostname="relay.test",
        process="ingress-0",
        count_refusal=refusal_counts.count,
    )
    passwords = Passwords(KEYRINGS[Reader.INGRESS])
    server = Server(
        tools,
        process_limits,
        Logins(passwords, tools, process_limits),
        configuration,
        certificate.context,
        insecure_auth=insecure_auth,
        line_ends=line_ends,
    )
    scene = Scene(server, passwords, spool, configuration, quotas, certificate)
    for running in (configuration.run(), quotas.run(), server.sweep()):
        scene.tasks.append(asyncio.create_task(running))
    for kind in ListenerKind:
        listener = listen(ListenAddress("127.0.0.1", 0))
        await server.listen(kind, listener)
        scene.ports[kind] = listener.getsockname()[1]
        behind = listen(ListenAddress("127.0.0.1", 0))
        scene.proxy_ports[kind] = behind.getsockname()[1]
        server.listen_proxied(kind, behind, trusted=trusted)
    return scene
