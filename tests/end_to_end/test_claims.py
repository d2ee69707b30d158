"""Where mail to a name goes that another namespace claims: from RCPT to the next hop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postroad.manifests.compiler.claims import ClaimKey, Claims, Evidence
from postroad.policy.model import ClaimBasis
from postroad.queue.configuration import publish_objects
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.delivery import delivering
from postroad.testing.processes.ingress import KEYRINGS, start_ingress
from postroad.testing.queue.nats_server import NatsServer
from postroad_harness.compiling import compiled

pytestmark = pytest.mark.nats

RELAY = """\
kind: Relay
metadata: {name: out, namespace: shop}
spec: {smarthosts: [{host: 127.0.0.1, port: %d}], tls: {mode: None}}"""
CLIENT = """\
kind: Client
metadata: {name: app, namespace: shop}
spec: {networks: [127.0.0.1/32], senders: ["*"]}"""
CLAIM = """\
kind: Domain
metadata: {name: bank, namespace: other}
spec:
  domain: bank.example
  receive: {route: {hosts: [{host: 127.0.0.1, port: %d}], tls: None}}
  send: {}"""
GRANT = """\
kind: DomainGrant
metadata: {name: bank, namespace: mail}
spec: {domains: [bank.example], namespaces: [other]}"""
UNPROVEN = {ClaimKey("other", "bank.example"): Evidence(ClaimBasis.NONE)}


@asynccontextmanager
async def sending(folder: Path, *manifests: str) -> AsyncIterator[SmtpPeer]:
    """Run ingress and delivery over a nats-server, and give a session of the Client."""

    def options(role: str) -> SpoolOptions:
        return SpoolOptions(servers=(server.url,), role=role, process=role)

    async with NatsServer(folder) as server:
        await provision(options("operator"), layout=SINGLE_MACHINE)
        ingress, delivery = [await connect(options(role)) for role in ("ingress", "delivery")]
        scene = await start_ingress(tls=folder, queue=ingress)
        try:
            claims = Claims(frozenset({"mail"}), "mail", UNPROVEN, "relay.example")
            entries = compiled(*manifests, claims=claims).entries
            await publish_objects(ingress, entries, KEYRINGS)
            await scene.configuration.wait_published()
            async with delivering(delivery):
                yield await scene.peer()
        finally:
            await scene.end()
            for spool in (ingress, delivery):
                await spool.close()


@pytest.mark.parametrize("granted", [False, True])
async def test_the_mail_of_others_takes_the_route_of_a_domain_only_when_it_is_granted(
    tmp_path: Path, *, granted: bool
) -> None:
    async with ScriptedMx() as usual, ScriptedMx() as claimant:
        manifests = (RELAY % usual.port, CLIENT, CLAIM % claimant.port)
        async with sending(tmp_path, *manifests, *([GRANT] if granted else [])) as peer:
            for line in ("EHLO a.example", "MAIL FROM:<a@a.example>", "RCPT TO:<b@bank.example>"):
                assert (await peer.say(line)).startswith("250")
            assert (await peer.say("DATA")).startswith("354 ")
            assert (await peer.say("Subject: hello\r\n\r\nbody\r\n.")).startswith("250 ")
            arrived = claimant if granted else usual
            await asyncio.wait_for(arrived.received(1), patient(10))
    assert (usual.connections, claimant.connections) == ((0, 1) if granted else (1, 0))
