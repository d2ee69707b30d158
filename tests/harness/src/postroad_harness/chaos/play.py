"""One chaos run: load and random kills for a given time, then all accepted mail must arrive."""

import asyncio
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from postroad.cli.load.plan import LoadPlan
from postroad.cli.load.run import LoadRun
from postroad_harness.chaos.account import ChaosFigures, Ending, Kill, Ledger, settle
from postroad_harness.chaos.hops import Hops
from postroad_harness.chaos.rig import Rig

SESSIONS = 400


@dataclass(frozen=True, slots=True)
class Extent:
    """How long, how fast, how often; durations in seconds."""

    seconds: float = 600.0
    rate: float = 100.0
    pause_least: float = 4.0  # between two kills
    pause_most: float = 16.0
    drain: float = 180.0  # the time in which accepted mail must arrive after the last kill
    seed: int = 1
    kinds: tuple[str, ...] = ()  # of processes to kill; all that the relay has without


async def play(rig: Rig, extent: Extent, folder: Path) -> ChaosFigures:
    """Play a run and return its account."""
    hops, ledger = Hops(), Ledger()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(hops)
        stack.push_async_callback(rig.stop)
        await rig.start(folder, hops.manifests())
        load = LoadRun(
            LoadPlan(
                host="127.0.0.1",
                port=rig.port,
                seconds=extent.seconds,
                rate=extent.rate,
                # Enough that some are free while others wait for a shard that has no leader.
                sessions=SESSIONS,
                sizes=((1024, 5.0), (8192, 4.0), (200_000, 1.0)),
                per_connection=25,
                domains=hops.domains,
            ),
            on_accepted=ledger.accept,
            on_ambiguous=ledger.ambiguous.add,
        )
        began = time.monotonic()
        sending = asyncio.create_task(load.run())
        killing = asyncio.create_task(_kill(rig, extent, ledger))
        try:
            figures = await sending
        finally:
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
        ended = time.monotonic()
        hops.recover()
        await _drain(ledger, hops, extent.drain)
        ending = Ending(
            what=rig.what,
            began=began,
            ended=ended,
            drained=max((at for seen in hops.arrivals.values() for at in seen), default=ended),
            refused=figures.deferred + figures.rejected,
            connections_lost=figures.lost + figures.refused,
            hops=hops.counts(),
        )
        plain = {number for number in ledger.accepted if hops.is_plain(number)}
        return settle(ledger, hops.arrivals, plain, ending)


async def _kill(rig: Rig, extent: Extent, ledger: Ledger) -> None:
    """Kill until cancelled: kinds in turn and shuffled, so that a short run has all of them."""
    chance = random.Random(extent.seed)
    await ledger.warm.wait()
    while True:
        kinds = [kind for kind in rig.kinds() if kind in extent.kinds or not extent.kinds]
        chance.shuffle(kinds)
        for kind in kinds:
            name = await rig.kill(kind, chance.random())
            if name is not None:
                ledger.kills.append(Kill(time.monotonic(), kind, name))
                print(f"{len(ledger.accepted):7} accepted, killed {name}", flush=True)
            await asyncio.sleep(chance.uniform(extent.pause_least, extent.pause_most))


async def _drain(ledger: Ledger, hops: Hops, seconds: float) -> None:
    """Wait until all has arrived, or the time for it is over: the account says what is missing."""
    try:
        async with asyncio.timeout(seconds):
            while ledger.missing(hops.arrivals):
                hops.changed.clear()
                await hops.changed.wait()
    except TimeoutError:
        pass
