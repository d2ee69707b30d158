"""
One round: sends mail to a server as fast as it accepts it, until all has reached the next hop.

The clock starts with the first connection. The rate end to end is the number of arrived messages
divided by the time until the last one arrived. So a server that accepts quickly and delivers later
gains nothing.
"""

import asyncio
import itertools
import statistics
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from postroad.cli.load.run import LoadRun
from postroad_harness.bench import processes
from postroad_harness.bench.cases import Case
from postroad_harness.bench.far_end import FarEnd
from postroad_harness.bench.servers.interface import MailServer

_DRAIN = 60.0  # seconds that accepted messages have to arrive
_FIRST = itertools.count(0, 10_000_000)  # each round has its own range of numbers


@dataclass(frozen=True, slots=True)
class RoundFigures:
    """The figures of a round; times in seconds, memory in octets."""

    accepted: int
    arrived: int  # of the accepted
    repeated: int  # recipients that got a message again
    refused: int
    lost_connections: int
    rate_in: float
    rate: float  # end to end
    accept_p50: float
    accept_p99: float
    transit_p50: float  # from 250 to the next hop
    transit_p99: float
    memory: int  # all processes, at the end of the load
    cpu_per_message: dict[str, float] = field(default_factory=dict)  # by process
    peak_memory: dict[str, int] = field(default_factory=dict)  # the largest process of each name

    @property
    def cpu(self) -> float:
        """Seconds of processor time for each message."""
        return sum(self.cpu_per_message.values())

    def as_json(self) -> dict[str, object]:
        """Return the figures by name."""
        return asdict(self)


async def play(
    server: MailServer,
    case: Case,
    far: FarEnd,
    folder: Path,
    *,
    seconds: float | None,
    messages: int | None,
) -> RoundFigures:
    """Play one round."""
    accepted_at: dict[int, float] = {}

    def note(number: int, now: float, _: bytes) -> None:
        accepted_at[number] = now

    plan = case.plan(server.port, seconds=seconds, messages=messages)
    plan = replace(plan, first=next(_FIRST))
    load = LoadRun(plan, on_accepted=note)
    await far.ask(f"begin {plan.first} {plan.recipients}")
    processes.forget_peaks(server.pid)
    before = processes.usage(server.pid, server.called)
    began = time.monotonic()
    figures = await load.run()
    memory = await asyncio.to_thread(processes.memory, server.pid)
    await far.until(figures.recipients, seconds=_DRAIN)
    repeated = int((await far.ask("count"))["repeated"])
    spent = processes.usage(server.pid, server.called).since(before)
    arrived = await far.times(folder)
    transits = sorted(arrived[n] - at for n, at in accepted_at.items() if n in arrived)
    last = max((arrived[n] for n in accepted_at if n in arrived), default=began)
    latencies = figures.latencies
    return RoundFigures(
        accepted=figures.accepted,
        arrived=len(transits),
        repeated=repeated,
        refused=figures.deferred + figures.rejected,
        lost_connections=figures.lost + figures.refused,
        rate_in=figures.accepted / max(figures.seconds, 1e-9),
        rate=len(transits) / max(last - began, 1e-9),
        accept_p50=latencies.percentile(0.5),
        accept_p99=latencies.percentile(0.99),
        transit_p50=_percentile(transits, 0.5),
        transit_p99=_percentile(transits, 0.99),
        memory=memory,
        cpu_per_message={
            name: seconds / max(figures.accepted, 1) for name, seconds in sorted(spent.items())
        },
        peak_memory=processes.peaks(server.pid, server.called),
    )


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def middle(rounds: list[RoundFigures]) -> RoundFigures:
    """Return the round with the median rate, whose other figures represent all rounds."""
    wanted = statistics.median_low(each.rate for each in rounds)
    return next(each for each in rounds if each.rate == wanted)
