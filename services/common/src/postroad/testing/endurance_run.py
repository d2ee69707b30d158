"""
Endurance: a great number of messages through the relay, and a great queue beside live traffic.

    python -Im postroad.testing.endurance_run --messages 1000000 --queued 300000

Two parts. *Through*: messages pass, and the memory of ingress, delivery and nats-server is looked
at all along: flat means that the last third holds no more than the second did, but for a margin.
*Beside*: mail for a destination that nobody answers is queued, the rate of live mail is measured
before and meanwhile, the relay is started again on the full queue, and at last the destination
wakes and everything drains. Each part is bounded and ends the relay it began.
"""

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from postroad.cli.load_figures import LoadFigures
from postroad.cli.load_plan import LoadPlan
from postroad.cli.load_run import Load
from postroad.cli.sink_server import Sink, SinkProtocol
from postroad.testing.bench import processes
from postroad.testing.ending import run_orderly
from postroad.testing.nats_server import free_ports
from postroad.testing.relay import RunningRelay, process_name

_MANIFESTS = """\
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {{name: endurance}}
spec: {{networks: ["127.0.0.0/8"], senders: ["*"]}}
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {{name: live}}
spec: {{destinations: ["*"], smarthosts: [{{host: 127.0.0.1, port: {live}}}]}}
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {{name: dead}}
spec:
  destinations: ["dead.example"]
  smarthosts: [{{host: 127.0.0.1, port: {dead}}}]
  retry: {{first: {retry}, factor: 1.5, max: {retry_max}, lifetime: 5d, delayWarning: 0s}}
"""
_PAGE = """\
# Endurance

    make endurance

passes a million messages of 4 KiB through `postroad up`, looking at the memory of its processes
all along, and then queues 300,000 messages for a destination that is dead beside live traffic,
starts the relay again on the full queue, and lets all of it drain. `make endurance MESSAGES=…
QUEUED=…` does less. This page is written by it; `build/endurance.json` keeps the figures.

## Last run, {date}

| | |
| --- | --- |
"""


@dataclass
class Memory:
    """What the processes of a relay held, looked at once a second: octets of RSS by name."""

    looks: list[dict[str, int]] = field(default_factory=list)

    def look(self, relay: RunningRelay) -> None:
        """Look once."""
        pids = [pid for pid in processes.descendants(relay.pid) if pid != relay.pid]
        self.looks.append({process_name(pid): processes.resident(pid) for pid in pids})

    def largest(self) -> dict[str, int]:
        """Return the most that each process held."""
        names = {name for look in self.looks for name in look}
        return {name: max(look.get(name, 0) for look in self.looks) for name in sorted(names)}

    def growth(self) -> dict[str, float]:
        """Return by how much the last third's mean exceeds the second's, as a share."""
        third = len(self.looks) // 3
        if third == 0:
            return {}
        middle, last = self.looks[third : 2 * third], self.looks[2 * third :]
        names = {name for name in middle[-1] if name in last[-1]}
        return {name: _mean(last, name) / _mean(middle, name) - 1 for name in sorted(names)}


def _mean(looks: list[dict[str, int]], name: str) -> float:
    seen = [look[name] for look in looks if look.get(name)]
    return sum(seen) / len(seen) if seen else 1.0


@dataclass
class Figures:
    """What was found; durations in seconds, memory in octets."""

    through: int = 0
    through_rate: float = 0.0
    through_lost: int = 0
    through_memory: dict[str, int] = field(default_factory=dict)
    through_growth: dict[str, float] = field(default_factory=dict)
    queued: int = 0
    queued_rate: float = 0.0
    live_rate_before: float = 0.0
    live_rate_beside: float = 0.0
    restart: float = 0.0
    beside_memory: dict[str, int] = field(default_factory=dict)
    drained: int = 0
    drain_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Extent:
    """How much."""

    messages: int = 1_000_000
    queued: int = 300_000
    live_seconds: float = 20.0
    retry: tuple[str, str] = ("2m", "5m")
    limit: float = 3600.0  # seconds for each wait until all has arrived


@dataclass
class Scene:
    """The relay, and its two next hops."""

    relay: RunningRelay
    dead_port: int
    live: Sink = field(default_factory=Sink)
    dead: Sink = field(default_factory=Sink)
    memory: Memory = field(default_factory=Memory)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _last: float = 0.0  # when the last message arrived
    _waking: asyncio.Server | None = None

    def __post_init__(self) -> None:
        self.live.on_taken = self.dead.on_taken = self._note

    def _note(self, _: bytearray) -> None:
        self._last = time.monotonic()
        self._changed.set()

    async def wake(self) -> None:
        """Let the dead destination answer."""
        loop = asyncio.get_running_loop()
        self._waking = await loop.create_server(
            lambda: SinkProtocol(self.dead), "127.0.0.1", self.dead_port
        )

    async def until(self, sink: Sink, messages: int, limit: float) -> float:
        """Wait until a sink has taken so many, or `limit` is over; return when the last came."""
        try:
            async with asyncio.timeout(limit):
                while sink.counts.accepted < messages:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass  # what is missing shows in the sink's counts
        return self._last

    async def end(self) -> None:
        """Close what was opened."""
        if self._waking is not None:
            self._waking.close()
        await self.live.hang_up()
        await self.dead.hang_up()

    async def watch(self) -> None:
        """Look at the memory until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.memory.look, self.relay)
            except OSError:
                pass  # it is being started again
            await asyncio.sleep(1)

    async def send(
        self, domain: str, *, messages: int | None = None, seconds: float | None = None
    ) -> LoadFigures:
        """Send, until all of it is accepted."""
        plan = LoadPlan(
            "127.0.0.1", self.relay.port(), messages=messages, seconds=seconds, domains=[domain]
        )
        return await Load(plan).run()


@asynccontextmanager
async def open_scene(folder: Path, extent: Extent) -> AsyncIterator[Scene]:
    """Start a relay between a load and two next hops, and end it."""
    loop = asyncio.get_running_loop()
    (dead_port,) = free_ports(1)
    live = Sink()
    server = await loop.create_server(lambda: SinkProtocol(live), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    first, longest = extent.retry
    manifests = _MANIFESTS.format(live=port, dead=dead_port, retry=first, retry_max=longest)
    scene = Scene(RunningRelay(folder, manifests), dead_port, live)
    try:
        await scene.relay.start()
        watching = asyncio.create_task(scene.watch())
        try:
            yield scene
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    finally:
        await scene.relay.kill()
        server.close()
        await scene.end()


async def through(scene: Scene, extent: Extent, figures: Figures) -> None:
    """Pass messages through."""
    began = time.monotonic()
    await scene.send("far.example", messages=extent.messages)
    ended = await scene.until(scene.live, extent.messages, extent.limit)
    figures.through = extent.messages
    figures.through_rate = extent.messages / (ended - began)
    figures.through_lost = extent.messages - scene.live.counts.accepted
    figures.through_memory = scene.memory.largest()
    figures.through_growth = scene.memory.growth()


async def beside(scene: Scene, extent: Extent, figures: Figures) -> None:
    """Queue for the dead destination, send live mail beside it, start again, drain."""
    figures.live_rate_before = await _live(scene, extent)
    queueing = await scene.send("dead.example", messages=extent.queued)
    figures.queued = queueing.accepted
    figures.queued_rate = queueing.accepted / queueing.seconds
    figures.live_rate_beside = await _live(scene, extent)
    await scene.relay.stop()
    began = time.monotonic()
    await scene.relay.start()
    figures.restart = time.monotonic() - began
    await scene.wake()
    began = time.monotonic()
    ended = await scene.until(scene.dead, figures.queued, extent.limit)
    figures.drain_seconds = ended - began
    figures.drained = scene.dead.counts.accepted
    figures.beside_memory = scene.memory.largest()


async def _live(scene: Scene, extent: Extent) -> float:
    """Return the rate end to end of live mail."""
    before, began = scene.live.counts.accepted, time.monotonic()
    sent = await scene.send("far.example", seconds=extent.live_seconds)
    ended = await scene.until(scene.live, before + sent.accepted, extent.limit)
    return sent.accepted / (ended - began)


async def run(extent: Extent, folder: Path) -> Figures:
    """Run both parts, each on a relay of its own."""
    figures = Figures()
    for name, part in (("through", through), ("beside", beside)):
        own = folder / name
        own.mkdir(parents=True)
        async with open_scene(own, extent) as scene:
            await part(scene, extent, figures)
    return figures


def rows(figures: Figures) -> list[tuple[str, str]]:
    """Return the figures as they are told."""
    growth = [f"{name} {share:+.1%}" for name, share in figures.through_growth.items()]
    loss = 1 - figures.live_rate_beside / max(figures.live_rate_before, 1e-9)
    return [
        ("through", f"{figures.through:,} messages, {figures.through_rate:,.0f}/s"),
        ("lost", f"{figures.through_lost}"),
        ("largest RSS", _sizes(figures.through_memory)),
        ("RSS, last third to second", ", ".join(growth)),
        ("queued for a dead destination", f"{figures.queued:,}, {figures.queued_rate:,.0f}/s"),
        ("live mail before", f"{figures.live_rate_before:,.0f}/s"),
        ("live mail beside the queue", f"{figures.live_rate_beside:,.0f}/s, {-loss:+.1%}"),
        ("start on the full queue", f"{figures.restart:.1f} s"),
        ("largest RSS", _sizes(figures.beside_memory)),
        ("drained", f"{figures.drained:,} in {figures.drain_seconds:,.0f} s"),
    ]


def _sizes(memory: dict[str, int]) -> str:
    return ", ".join(f"{name} {octets / 1e6:.0f} MB" for name, octets in memory.items())


def write_page(figures: Figures, path: Path) -> None:
    """Write the page."""
    head = _PAGE.format(date=datetime.now(UTC).date().isoformat())
    lines = [f"| {title} | {text} |" for title, text in rows(figures)]
    path.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Read the flags, run, report; exit with 1 when not all of it arrived."""
    parser = argparse.ArgumentParser(prog="make endurance", description="Much mail, for long.")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--queued", type=int, default=300_000)
    parser.add_argument("--live-seconds", type=float, default=20.0)
    parser.add_argument("--page", type=Path, default=None, help="where to write the page")
    flags = parser.parse_args()
    extent = Extent(flags.messages, flags.queued, flags.live_seconds)
    folder = Path("build/endurance").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    figures = run_orderly(run(extent, folder))
    Path("build/endurance.json").write_text(json.dumps(asdict(figures), indent=1))
    for title, text in rows(figures):
        print(f"{title}: {text}")
    if flags.page is not None:
        write_page(figures, flags.page)
    sys.exit(int(figures.through_lost > 0 or figures.drained < figures.queued))


if __name__ == "__main__":
    main()
