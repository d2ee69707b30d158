"""`postroad demo`: runs a relay, sends four messages through it, and shows their history."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from postroad.cli.commands.events import line
from postroad.cli.commands.send import compose
from postroad.cli.errors import CommandError
from postroad.cli.handover import ServerAccess, Tls, hand_over, tls_context
from postroad.cli.sink.command import listen_sink
from postroad.cli.sink.server import Sink, SinkBehaviour
from postroad.cli.target.connect import open_cluster
from postroad.cli.target.options import Where
from postroad.process.supervised import die_with_parent
from postroad.spool.event import Event, EventType
from postroad.spool.interface import Spool
from postroad.units.addresses import ListenAddress, SocketAddress, parse_socket_address

_PATIENCE = timedelta(seconds=60)
_SENDER = "shop@good.example"
_ENDS = frozenset({EventType.DELIVERY, EventType.BOUNCE, EventType.EXPIRATION})
_TOLD = _ENDS | {EventType.RECEPTION}
_MANIFESTS = """\
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {{name: this-machine}}
spec: {{networks: ["127.0.0.0/8"], senders: ["*"], class: Transactional}}
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {{name: good}}
spec: {{destinations: ["*"], smarthosts: [{{host: 127.0.0.1, port: {good}}}]}}
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {{name: slow}}
spec:
  destinations: ["slow.example"]
  smarthosts: [{{host: 127.0.0.1, port: {slow}}}]
  retry: {{first: 2s, factor: 1.5, max: 10s, lifetime: 5m, delayWarning: 4m}}
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {{name: bad}}
spec: {{destinations: ["bad.example"], smarthosts: [{{host: 127.0.0.1, port: {bad}}}]}}
"""


@dataclass(frozen=True)
class DemoMessage:
    """One message of the demo: what it shows, its recipients, and its number of final events."""

    title: str
    to: tuple[str, ...]
    ends: int


SCENES = (
    DemoMessage("Delivered at once", ("ann@good.example",), 1),
    DemoMessage("Deferred, then delivered", ("bob@slow.example",), 1),
    DemoMessage("To two domains, accepted as one", ("ann@good.example", "cid@other.example"), 2),
    DemoMessage("Bounced, with its delivery status notification", ("eve@bad.example",), 1),
)


def demo() -> None:
    """
    Show the relay at work: four messages and what becomes of each.

    Runs a relay and three next hops on this machine, in a temporary folder; nothing leaves it.

    Example: postroad demo
    """
    with TemporaryDirectory(prefix="postroad-demo-") as folder:
        asyncio.run(_play(Path(folder)))


async def _play(folder: Path) -> None:
    console = Console(highlight=False)
    console.print("Starting three next hops and a relay on this machine …")
    hops = {
        "good": Sink(),
        "slow": Sink(SinkBehaviour(defer_first=True)),
        "bad": Sink(SinkBehaviour(reject_share=1.0)),
    }
    ports = {name: await _open(sink) for name, sink in hops.items()}
    (folder / "manifests.yaml").write_text(_MANIFESTS.format(**ports))
    began = datetime.now(UTC)
    async with _relay(folder) as server:
        console.print(f"Sending {len(SCENES)} messages to {server} …")
        queue_ids = [await asyncio.to_thread(_send, server, scene) for scene in SCENES]
        async with open_cluster(Where(folder / "state")) as spool:
            history = await _follow(spool, began, dict(zip(queue_ids, SCENES, strict=True)))
    for scene, queue_id in zip(SCENES, queue_ids, strict=True):
        _tell(console, scene.title, [e for e in history if e.queue_id == queue_id])
    _tell(console, "The notification that followed", [e for e in history if _is_report(e)])
    taken = sum(sink.counts.accepted for sink in hops.values())
    console.print(f"\nThe next hops took {taken} messages.")


def _send(server: SocketAddress, scene: DemoMessage) -> str:
    access = ServerAccess(server, Tls.NONE, tls_context(False, None))
    content = compose(_SENDER, scene.to, scene.title)
    return str(hand_over(access, _SENDER, list(scene.to), content).queue_id)


async def _open(sink: Sink) -> int:
    _, where = await listen_sink(sink, ListenAddress("127.0.0.1", 0))
    return parse_socket_address(where).port


@asynccontextmanager
async def _relay(folder: Path) -> AsyncIterator[SocketAddress]:
    """Run `postroad up` in `folder` and give the address of its relay port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "postroad.cli", "up", "--config", str(folder / "manifests.yaml")),
        *("--state", str(folder / "state"), "--relay", "127.0.0.1:0", "--http", "127.0.0.1:0"),
        *("--submission", "127.0.0.1:0", "--submissions", "127.0.0.1:0"),
        stdout=subprocess.PIPE,
        env={**os.environ, "POSTROAD_LOG_LEVEL": "error"},
        preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGTERM),
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_PATIENCE.total_seconds()):
            ready = (await process.stdout.readline()).decode()
        address = re.search(r"relay (\S+?),", ready)
        if address is None:
            raise CommandError("the demonstration's relay did not start; try `postroad up`")
        yield parse_socket_address(address[1])
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _follow(spool: Spool, since: datetime, scenes: dict[str, DemoMessage]) -> list[Event]:
    """Return the history, in order, once the final events of all messages are there."""
    history: list[Event] = []
    # Plus one for the reception: another process writes that event, perhaps later.
    open_ends = {queue_id: scene.ends + 1 for queue_id, scene in scenes.items()}
    reports = 1
    try:
        async with asyncio.timeout(_PATIENCE.total_seconds()):
            async for event in spool.events.read(since=since, follow=True):
                history.append(event)
                if event.type in _TOLD and event.queue_id in open_ends:
                    open_ends[event.queue_id] -= 1
                elif event.type in _ENDS and _is_report(event):
                    reports -= 1
                if reports <= 0 and not any(open_ends.values()):
                    break
    except TimeoutError as error:
        raise CommandError("the demonstration did not come to its end in a minute") from error
    return sorted(history, key=lambda event: event.at)


def _is_report(event: Event) -> bool:
    return not event.reverse_path and _SENDER in event.recipients


def _tell(console: Console, title: str, events: list[Event]) -> None:
    console.print(f"\n[bold]{title}[/bold]")
    for event in events:
        console.print(line(event), soft_wrap=True)
