"""
Endurance: very many messages through the relay, and a very long queue beside live traffic.

    python -Im postroad_harness.endurance --messages 1000000 --queued 300000 --part both

There are two parts. *Through* passes the messages through a relay, and samples the memory of
ingress, delivery and nats-server. Memory is flat if the last third of the run holds no more than
the second third, within a margin. *Beside* queues mail for a destination that does not answer. It
measures the rate of live mail before that and when all that mail is deferred, and restarts the
relay on the full queue. At last the destination answers, `queue retry --all` runs, and everything
drains. Each part has a time limit and ends the relay that it started.
"""

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from postroad.cli.load.figures import LoadFigures
from postroad.cli.load.plan import LoadPlan
from postroad.cli.load.run import LoadRun
from postroad.cli.sink.server import Sink
from postroad.cli.sink.session import SinkProtocol
from postroad.testing.processes.relay import RunningRelay, process_name
from postroad.testing.queue.nats_server import free_ports
from postroad_harness.bench import processes
from postroad_harness.ending import run_orderly
from postroad_harness.endurance.page import Beside, Through, load, save, write_page

_TELL_EVERY = 30.0  # seconds
_LOOK_EVERY = 5.0  # seconds; for each look, nats-server counts all waiting mail
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


@dataclass
class Memory:
    """The memory of a relay's processes, sampled once a second: octets of RSS by name."""

    looks: list[dict[str, int]] = field(default_factory=list)

    def look(self, relay: RunningRelay) -> None:
        """Take one sample."""
        pids = [pid for pid in processes.descendants(relay.pid) if pid != relay.pid]
        held = {process_name(pid): processes.resident(pid) for pid in pids}
        # A process that ended meanwhile holds nothing and has no name.
        self.looks.append({name: octets for name, octets in held.items() if octets})

    def largest(self) -> dict[str, int]:
        """Return the largest memory of each process."""
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


@dataclass(frozen=True, slots=True)
class Extent:
    """How much."""

    messages: int = 1_000_000
    queued: int = 300_000
    live_seconds: float = 20.0
    retry: tuple[str, str] = ("1h", "4h")
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
        """Start the dead destination."""
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

    async def until_deferred(self, messages: int, limit: float) -> None:
        """Wait until this many messages are deferred."""
        async with asyncio.timeout(limit):
            while True:
                if await self._deferred() >= messages:
                    return
                await asyncio.sleep(_LOOK_EVERY)

    async def _deferred(self) -> int:
        code, out, said = await self.relay.command("status", "--json")
        if code != 0:
            raise RuntimeError(f"status: {said.strip()}")
        return int(json.loads(out)["queue"]["deferred"])

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

    async def tell(self, part: str) -> None:
        """Report the progress on stderr every half minute, until cancelled."""
        while True:
            await asyncio.sleep(_TELL_EVERY)
            live, dead = self.live.counts.accepted, self.dead.counts.accepted
            print(f"{part}: {live:,} live and {dead:,} late arrived", file=sys.stderr, flush=True)

    async def send(
        self, domain: str, *, messages: int | None = None, seconds: float | None = None
    ) -> LoadFigures:
        """Send, until all of it is accepted."""
        plan = LoadPlan(
            "127.0.0.1", self.relay.port(), messages=messages, seconds=seconds, domains=[domain]
        )
        return await LoadRun(plan).run()


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


async def through(scene: Scene, extent: Extent) -> Through:
    """Pass messages through."""
    began = time.monotonic()
    await scene.send("far.example", messages=extent.messages)
    ended = await scene.until(scene.live, extent.messages, extent.limit)
    return Through(
        date=_today(),
        messages=extent.messages,
        rate=extent.messages / (ended - began),
        lost=extent.messages - scene.live.counts.accepted,
        largest=scene.memory.largest(),
        growth=scene.memory.growth(),
    )


async def beside(scene: Scene, extent: Extent) -> Beside:
    """Queue for the dead destination, send live mail beside it, start again, drain."""
    await _live(scene, extent)  # to get warm: the first seconds of processes are slower
    before = await _live(scene, extent)
    queueing = await scene.send("dead.example", messages=extent.queued)
    await scene.until_deferred(queueing.accepted, extent.limit)
    meanwhile = await _live(scene, extent)
    await scene.relay.stop()
    began = time.monotonic()
    await scene.relay.start()
    restart = time.monotonic() - began
    await scene.wake()
    began = time.monotonic()
    code, _, said = await scene.relay.command("queue", "retry", "--all")
    if code != 0:
        raise RuntimeError(f"queue retry: {said.strip()}")
    ended = await scene.until(scene.dead, queueing.accepted, extent.limit)
    return Beside(
        date=_today(),
        queued=queueing.accepted,
        queued_rate=queueing.accepted / queueing.seconds,
        live_before=before,
        live_beside=meanwhile,
        restart=restart,
        drained=scene.dead.counts.accepted,
        drain_seconds=ended - began,
        largest=scene.memory.largest(),
    )


async def _live(scene: Scene, extent: Extent) -> float:
    """Return the rate end to end of live mail."""
    before, began = scene.live.counts.accepted, time.monotonic()
    sent = await scene.send("far.example", seconds=extent.live_seconds)
    ended = await scene.until(scene.live, before + sent.accepted, extent.limit)
    return sent.accepted / (ended - began)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


async def run(extent: Extent, folder: Path, part: str) -> Through | Beside:
    """Run a part on a relay of its own."""
    own = folder / part
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    async with open_scene(own, extent) as scene:
        telling = asyncio.create_task(scene.tell(part))
        try:
            return await (through if part == "through" else beside)(scene, extent)
        finally:
            telling.cancel()


def main() -> None:
    """Read the flags, run, report; exit with 1 when not all of it arrived."""
    parser = argparse.ArgumentParser(prog="make endurance", description="Much mail, for long.")
    parser.add_argument("--messages", type=int, default=1_000_000, help="how many pass through")
    parser.add_argument("--queued", type=int, default=300_000, help="how many wait beside")
    parser.add_argument("--live-seconds", type=float, default=20.0, help="of live mail, each time")
    parser.add_argument("--part", choices=("through", "beside", "both"), default="both")
    parser.add_argument("--page", type=Path, default=None, help="where to write the page")
    flags = parser.parse_args()
    extent = Extent(flags.messages, flags.queued, flags.live_seconds)
    kept = Path("build/endurance.json")
    figures, is_short = load(kept), False
    for part in ("through", "beside") if flags.part == "both" else (flags.part,):
        found = run_orderly(run(extent, Path("build/endurance").resolve(), part))
        for title, text in found.rows():
            print(f"{title}: {text}", flush=True)
        setattr(figures, part, found)
        is_short |= found.is_short
        save(figures, kept)
        if flags.page is not None:
            write_page(figures, flags.page)
    sys.exit(int(is_short))


if __name__ == "__main__":
    main()
