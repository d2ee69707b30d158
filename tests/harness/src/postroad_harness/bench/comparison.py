"""
Compares this commit with another one, in processor time for each message, process by process.

A shared machine's speed drifts, so only rounds that were played next to each other are compared.
The other commit runs twice. The difference between its two runs is the noise, and a difference of
this commit within the noise does not count.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from postroad_harness.bench.bench import Result
from postroad_harness.bench.rounds import RoundFigures

THIS, BASE, AGAIN = "postroad", "base", "base-again"
_ALL = "all"


@dataclass(frozen=True, slots=True)
class Spread:
    """The smallest, the median and the largest of some ratios."""

    least: float
    median: float
    most: float

    def __str__(self) -> str:
        """Return them in per cent above or below one."""
        least, median, most = (f"{(each - 1) * 100:+.1f}" for each in self._all())
        return f"{median} % ({least} to {most})"

    def _all(self) -> tuple[float, float, float]:
        return self.least, self.median, self.most


def spread(these: Sequence[float], those: Sequence[float]) -> Spread | None:
    """Return the ratios of two series, pair by pair; None where nothing can be compared."""
    ratios = [this / that for this, that in zip(these, those, strict=True) if that > 0]
    if not ratios:
        return None
    return Spread(min(ratios), statistics.median(ratios), max(ratios))


def table(result: Result) -> str:
    """Return a row for each case and process; seconds of processor time, as milliseconds."""
    head = ["case", "process", "CPU/message", "base", "to base", "base to itself"]
    rows = [head, ["---"] * len(head)]
    for case, found in result.cases.items():
        if not all(found.get(name) for name in (THIS, BASE, AGAIN)):
            continue
        names = (_ALL, *_processes(found[THIS]))
        rows += [[case, name, *_cells(found, _cost_of(name))] for name in names]
        rows.append([case, "messages a second", *_cells(found, lambda each: each.rate, 1.0)])
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _processes(rounds: Sequence[RoundFigures]) -> list[str]:
    costs = rounds[0].cpu_per_message
    return sorted((name for name in costs if costs[name] > 1e-5), key=lambda name: -costs[name])


def _cost_of(process: str) -> Callable[[RoundFigures], float]:
    if process == _ALL:
        return lambda figures: figures.cpu
    return lambda figures: figures.cpu_per_message.get(process, 0.0)


def _cells(
    found: dict[str, list[RoundFigures]],
    figure: Callable[[RoundFigures], float],
    scale: float = 1000.0,
) -> list[str]:
    this, base, again = ([figure(each) for each in found[name]] for name in (THIS, BASE, AGAIN))
    medians = [f"{statistics.median(each) * scale:,.2f}" for each in (this, base)]
    ratios = [spread(this, base), spread(again, base)]
    return [*medians, *(str(each) if each else "–" for each in ratios)]
