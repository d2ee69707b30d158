"""docs/flow.md names all modules that a message passes, and the steps in their order."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType

import pytest

from postroad.manifests.compiler.check import check
from postroad.queue.configuration import publish_objects
from postroad.spool.event import EventType
from postroad.spool.interface import Spool
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.delivery import delivering, history
from postroad.testing.processes.ingress import KEYRINGS, Scene, start_ingress
from postroad.testing.queue.nats_server import NatsServer

pytestmark = pytest.mark.nats

PAGE = Path(__file__).parents[2] / "docs" / "flow.md"
ROW = re.compile(r"^\| \d+\. [^|]*\| (`[^|]*`) \|$", re.M)
OURS = "/src/postroad/"
# The wire to the queue, what looks on, and the next hop, which runs here too.
# A request for more is made with every other message of a lane and shard.
INBOXES = "spool.jetstream.consume.pull.inboxes"
BESIDE = ("spool.jetstream.nats.", INBOXES, "telemetry.", "testing.")
MANIFESTS = """\
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {name: out}
spec: {destinations: ["*"], smarthosts: [{host: 127.0.0.1, port: %d}], tls: {mode: None}}
---
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: network}
spec: {networks: [127.0.0.1/32], senders: ["*@near.example"]}
"""


def steps() -> list[list[str]]:
    """Return the modules of each step, as the page names them; the first is the step's own."""
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    return [re.findall(r"`([a-z_.]+)`", row) for row in rows]


@contextmanager
def passed() -> Iterator[list[str]]:
    """Fill a list with the modules that are called, in the order of their first calls."""
    found: dict[str, None] = {}
    modules: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        path = frame.f_code.co_filename
        if event == "call" and OURS in path:
            found.setdefault(path.partition(OURS)[2].removesuffix(".py").replace("/", "."))

    sys.setprofile(note)
    try:
        yield modules
    finally:
        sys.setprofile(None)
        modules += [name for name in found if not name.startswith(BESIDE)]


@asynccontextmanager
async def relay(folder: Path, mx: ScriptedMx) -> AsyncIterator[tuple[SmtpPeer, Spool]]:
    """Run ingress and delivery over a nats-server in this process; give a session and the queue."""

    def options(role: str) -> SpoolOptions:
        return SpoolOptions(servers=(server.url,), role=role, process=role)

    async with NatsServer(folder) as server:
        await provision(options("operator"), layout=SINGLE_MACHINE)
        ingress, delivery = [await connect(options(role)) for role in ("ingress", "delivery")]
        scene = await start_ingress(tls=folder, queue=ingress)
        try:
            await configure(scene, ingress, MANIFESTS % mx.port, folder)
            async with delivering(delivery):
                yield await scene.peer(), ingress
        finally:
            await scene.end()
            for spool in (ingress, delivery):
                await spool.close()


async def configure(scene: Scene, spool: JetStreamSpool, manifests: str, folder: Path) -> None:
    file = folder / "manifests.yaml"
    file.write_text(manifests)
    mistakes, compiled = check([file], keyrings=KEYRINGS)
    assert not mistakes
    await publish_objects(spool, compiled.entries, KEYRINGS)
    await scene.configuration.wait_published()


async def send(peer: SmtpPeer, spool: Spool, number: int) -> None:
    """Send a message, and wait until the history says that so many were delivered."""
    for line in ("MAIL FROM:<a@near.example>", "RCPT TO:<b@far.example>"):
        assert (await peer.say(line)).startswith("250 ")
    assert (await peer.say("DATA")).startswith("354 ")
    assert (await peer.say("Subject: hello\r\n\r\nbody\r\n.")).startswith("250 ")
    await history(spool, EventType.DELIVERY, number)


async def test_the_page_names_the_modules_that_a_message_passes(tmp_path: Path) -> None:
    """It takes eight seconds: what runs without mail has to be seen once, too."""
    async with ScriptedMx() as mx, relay(tmp_path, mx) as (peer, spool):
        assert (await peer.say("EHLO near.example")).startswith("250")
        await send(peer, spool, 1)  # what only the first message passes is not the path
        await send(peer, spool, 2)
        with passed() as idle:
            await asyncio.sleep(3)
        with passed() as path:
            await send(peer, spool, 3)
    named = [module for step in steps() for module in step]
    assert sorted(set(path) - set(idle) - set(named)) == [], "name them in docs/flow.md"
    assert sorted(set(named) - set(path)) == [], "no message passes them: strike them out"
    # Delivery may take the record before the client has read its reply.
    for way in ("ingress.", "spool.jetstream.publish."), ("delivery.",):
        leads = [step[0] for step in steps() if step[0].startswith(way)]
        assert leads == sorted(leads, key=path.index), "the steps come in another order"
