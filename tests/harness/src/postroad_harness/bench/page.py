"""Writes docs/benchmarks.md from the last bench: a table for each figure, and where we lose."""

from pathlib import Path

from postroad_harness.bench.bench import Result, median_rates
from postroad_harness.bench.cases import CASES
from postroad_harness.bench.rounds import RoundFigures, middle

_INTRO = """\
# Benchmarks

This page compares Postroad with alternatives on one machine. Every system has its durable default
settings: a message is on disk before its `250`.

    make bench

writes this page. It takes about ten minutes, and keeps every round in `build/bench.json`. It
installs what is missing (Postfix with apt, Haraka with npm into `build/`). A system that cannot be
installed is left out, with the reason.

All systems have the same source and the same sink, each in a process of its own on the same
machine. The source is `postroad load` with {sessions} sessions, which send as fast as they get
replies and pipeline the commands up to DATA. The sink is `postroad sink`. The systems take turns.
Each round sends for {seconds:.0f} s, and ends when all accepted messages have arrived.

- *End to end* is the number of arrived messages divided by the time until the last one arrived.
- *In* is the rate at which messages were accepted.
- *Accept* is the time from the final dot to its `250`, *transit* the time from there to the sink.
  Both are measured under full load, so they show queues as much as speed: a system that accepts
  mail slowly has a short transit.
- *CPU/message* is processor time. *Memory* is that of all processes at the end of the load, the
  largest of all rounds.

All other figures are from the round with the median rate. The list at the end compares these
rounds; its memory is that of these rounds, too. Ratios are more comparable between machines than
rates ([where the time goes](performance.md) has those of two machines).
"""


def write_page(result: Result, path: Path, *, seconds: float = 5.0, sessions: int = 20) -> None:
    """Write the page."""
    parts = [_INTRO.format(seconds=seconds, sessions=sessions), _about(result)]
    parts.append("## Messages a second, end to end\n\n" + _rates(result))
    parts += [
        f"## {case.name}\n\n{case.text}.\n\n{_case(result.cases[case.name])}"
        for case in CASES
        if case.name in result.cases
    ]
    parts.append(_losses(result))
    path.write_text("\n".join(parts), encoding="utf-8")


def _about(result: Result) -> str:
    machine = result.machine
    lines = [
        f"Last run {machine['date']}: {machine['cores']} cores of {machine['processor']},"
        f" {machine['memory_gib']} GiB, {machine['system']}, Python {machine['python']}.\n"
    ]
    for name, said in result.servers.items():
        lines.append(f"- {name} {said['version']}: {said['settings']}")
    lines += [f"- {name} was left out: {reason}" for name, reason in result.left_out.items()]
    return "\n".join(lines) + "\n"


def _rates(result: Result) -> str:
    others = [name for name in result.servers if name != "postroad"]
    head = ["case", *result.servers, *(f"to {name}" for name in others)]
    rows = []
    for name, found in result.cases.items():
        medians = median_rates(found)
        own = medians.get("postroad", 0.0)
        rates = [f"{medians[each]:,.0f}" for each in result.servers]
        ratios = [f"{own / medians[each]:.2f}×" if medians[each] else "–" for each in others]
        rows.append([name, *rates, *ratios])
    return _table(head, rows)


def _case(found: dict[str, list[RoundFigures]]) -> str:
    head = ["", "end to end", "rounds", "in", "accept p50", "p99", "transit p50", "p99"]
    head += ["CPU/message", "memory"]
    rows = []
    for name, rounds in found.items():
        figures = middle(rounds)
        rows.append(
            [
                name,
                f"{figures.rate:,.0f}/s",
                " ".join(f"{each.rate:.0f}" for each in rounds),
                f"{figures.rate_in:,.0f}/s",
                *map(
                    _time,
                    (
                        figures.accept_p50,
                        figures.accept_p99,
                        figures.transit_p50,
                        figures.transit_p99,
                    ),
                ),
                f"{figures.cpu * 1000:.2f} ms",
                f"{max(each.memory for each in rounds) / 1e6:.0f} MB",
            ]
        )
    return _table(head, rows) + "\n" + _by_process(found)


def _by_process(found: dict[str, list[RoundFigures]]) -> str:
    lines = []
    for name, rounds in found.items():
        figures = middle(rounds)
        spent = sorted(figures.cpu_per_message.items(), key=lambda each: -each[1])
        costs = ", ".join(f"{each} {cost * 1e3:.2f} ms" for each, cost in spent if cost > 5e-6)
        peaks: dict[str, int] = {}
        for one in rounds:
            for each, octets in one.peak_memory.items():
                peaks[each] = max(peaks.get(each, 0), octets)
        largest = sorted(peaks.items(), key=lambda each: -each[1])[:4]
        sizes = ", ".join(f"{each} {octets / 1e6:.0f} MB" for each, octets in largest)
        lines.append(f"{name}: CPU {costs}; largest RSS {sizes}.\n")
    return "\n".join(lines)


def _losses(result: Result) -> str:
    """Say where Postroad is not ahead, and where anything went wrong."""
    lines = []
    for name, found in result.cases.items():
        own = found.get("postroad", [])
        for other, rounds in found.items():
            missing = sum(each.accepted - each.arrived for each in rounds)
            repeated = sum(each.repeated for each in rounds)
            refused = sum(each.refused + each.lost_connections for each in rounds)
            if missing or repeated or refused:
                lines.append(
                    f"- {name}: {other}: {missing} accepted and not arrived a minute later,"
                    f" {repeated} sent twice, {refused} refused or cut off"
                )
            if other != "postroad" and own and rounds:
                lines += [
                    f"- {name}: {text}" for text in _behind(other, middle(own), middle(rounds))
                ]
    text = "\n".join(lines) if lines else "- nowhere in this run"
    return f"## Where Postroad is behind\n\n{text}\n"


def _behind(name: str, own: RoundFigures, other: RoundFigures) -> list[str]:
    pairs = (
        ("the rate end to end", -own.rate, -other.rate, f"{own.rate:.0f}/s to {other.rate:.0f}/s"),
        ("accept p99", own.accept_p99, other.accept_p99, _both(own.accept_p99, other.accept_p99)),
        (
            "transit p99",
            own.transit_p99,
            other.transit_p99,
            _both(own.transit_p99, other.transit_p99),
        ),
        (
            "memory",
            own.memory,
            other.memory,
            f"{own.memory / 1e6:.0f} MB to {other.memory / 1e6:.0f} MB",
        ),
    )
    return [f"{what} against {name}: {text}" for what, a, b, text in pairs if a > b]


def _both(own: float, other: float) -> str:
    return f"{_time(own)} to {_time(other)}"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms" if seconds < 10 else f"{seconds:,.1f} s"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines) + "\n"
