"""
The whole bench: starts every server once, then plays each case in rounds.

The servers take turns because a machine's speed drifts. So figures that are compared were measured
within the same half minute. A server that cannot run here is left out, with the reason.
"""

import json
import platform
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from postroad_harness.bench.cases import Case
from postroad_harness.bench.far_end import FarEnd
from postroad_harness.bench.rounds import RoundFigures, play
from postroad_harness.bench.servers.interface import MailServer, Unavailable


@dataclass
class Result:
    """The results of a bench so far."""

    machine: dict[str, object]
    servers: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    cases: dict[str, dict[str, list[RoundFigures]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured: rounds, and the bounds of each."""

    rounds: int = 3
    seconds: float | None = 5.0
    messages: int | None = None


async def run(
    servers: Sequence[MailServer], cases: Sequence[Case], extent: Extent, folder: Path
) -> Result:
    """Measure; `folder` is empty and holds what the servers write."""
    result = Result(machine=_machine())
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(FarEnd())
        started = [each for each in servers if await _start(each, far, folder, result, stack)]
        for case in cases:
            found = result.cases[case.name] = {each.name: [] for each in started}
            for number in range(extent.rounds):
                for server in turned(started, number):
                    figures = await play(
                        *(server, case, far, folder),
                        seconds=extent.seconds,
                        messages=extent.messages,
                    )
                    found[server.name].append(figures)
                    _tell(case, number, server, figures)
                _drop_broken(started, found, result)
    return result


def turned(servers: list[MailServer], number: int) -> list[MailServer]:
    """Let another server begin each round, so that the order does not influence the result."""
    first = number % max(len(servers), 1)
    return servers[first:] + servers[:first]


def _drop_broken(
    started: list[MailServer], found: dict[str, list[RoundFigures]], result: Result
) -> None:
    """Leave out a server that accepts nothing."""
    for server in list(started):
        if not found[server.name][-1].accepted:
            started.remove(server)
            result.left_out[server.name] = "it accepted nothing in a round"


async def _start(
    server: MailServer, far: FarEnd, folder: Path, result: Result, stack: AsyncExitStack
) -> bool:
    own = (folder / server.name).resolve()
    own.mkdir()
    try:
        stack.push_async_callback(server.stop)
        await server.start(own, far.port)
    except Unavailable as reason:
        print(f"{server.name} is left out: {reason}", flush=True)
        result.left_out[server.name] = str(reason)
        return False
    result.servers[server.name] = {"version": server.version(), "settings": server.settings}
    return True


def _tell(case: Case, number: int, server: MailServer, figures: RoundFigures) -> None:
    missing = figures.accepted - figures.arrived
    print(
        f"{case.name} {number + 1} {server.name:9} {figures.rate:7.0f}/s,"
        f" in {figures.rate_in:7.0f}/s,"
        f" accept p50 {figures.accept_p50 * 1000:6.1f} p99 {figures.accept_p99 * 1000:6.1f} ms,"
        f" 250 to next hop p50 {figures.transit_p50 * 1000:7.1f} p99"
        f" {figures.transit_p99 * 1000:7.1f} ms, CPU {figures.cpu * 1000:5.2f} ms"
        + (f", NOT ARRIVED {missing}" if missing else "")
        + (f", SENT TWICE {figures.repeated}" if figures.repeated else "")
        + (f", refused {figures.refused}" if figures.refused else "")
        + (f", lost connections {figures.lost_connections}" if figures.lost_connections else ""),
        flush=True,
    )


def _machine() -> dict[str, object]:
    memory = Path("/proc/meminfo").read_text().split()[1]
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cores": len(models),
        "processor": models[0] if models else platform.machine(),
        "memory_gib": round(int(memory) / 1024 / 1024, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def median_rates(found: dict[str, list[RoundFigures]]) -> dict[str, float]:
    """Return the median rate end to end of each server."""
    medians = {}
    for name, rounds in found.items():
        ordered = sorted(each.rate for each in rounds)
        medians[name] = ordered[len(ordered) // 2] if ordered else 0.0
    return medians


def as_json(result: Result) -> dict[str, object]:
    """Return a result as it is kept: cases with the rates of all rounds, medians and ratios."""
    cases = []
    for name, found in result.cases.items():
        medians = median_rates(found)
        own = medians.get("postroad", 0.0)
        cases.append(
            {
                "name": name,
                "systems": {
                    server: {
                        "rates": [round(each.rate, 1) for each in rounds],
                        "median": round(medians[server], 1),
                        "rounds": [each.as_json() for each in rounds],
                    }
                    for server, rounds in found.items()
                },
                "ratios": {
                    other: round(own / rate, 3)
                    for other, rate in medians.items()
                    if other != "postroad" and rate
                },
            }
        )
    return {
        "machine": result.machine,
        "systems": result.servers,
        "left_out": result.left_out,
        "cases": cases,
    }


def write(result: Result, path: Path) -> None:
    """Keep a result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_json(result), indent=1))
