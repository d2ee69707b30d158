"""
The figures of the endurance tests, and docs/endurance.md. No I/O except for the two files.

The parts take half an hour each and can be run alone. So each has its own date, and the page shows
the last run of both.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

_PAGE = """\
# Endurance

    make endurance

has two parts. *Through* passes a million messages of 4 KiB through `postroad up`, and watches the
memory of its processes. *Beside* starts a new relay and measures live traffic. Then it queues
300,000 messages for a dead destination, with the next retry in an hour, and measures live traffic
again beside this queue. Then it restarts the relay on the queue, starts the destination, runs
`postroad queue retry --all`, and waits until everything has arrived.

`make endurance PART=through` or `PART=beside` runs one of the two parts; `MESSAGES=…` and
`QUEUED=…` make it shorter. The command writes this page, and `build/endurance.json` keeps the
figures.

Memory is flat if its mean in the run's last third equals that in the second third, except for
what the queue holds at the moment. nats-server is written in Go, and gives memory back with a
delay.
"""


@dataclass
class Through:
    """Messages that passed through; durations in seconds, memory in octets by process."""

    date: str
    messages: int
    rate: float
    lost: int
    largest: dict[str, int] = field(default_factory=dict)
    growth: dict[str, float] = field(default_factory=dict)

    @property
    def is_short(self) -> bool:
        """Whether not all that was accepted arrived."""
        return self.lost > 0

    def rows(self) -> list[tuple[str, str]]:
        """Return the figures as they are told."""
        growth = [f"{name} {share:+.1%}" for name, share in self.growth.items()]
        return [
            ("messages", f"{self.messages:,}, {self.rate:,.0f}/s end to end"),
            ("lost", f"{self.lost}"),
            ("largest RSS", _sizes(self.largest)),
            ("RSS, last third to second", ", ".join(growth)),
        ]


@dataclass
class Beside:
    """A queue for a dead destination beside live traffic, and its end."""

    date: str
    queued: int
    queued_rate: float
    live_before: float
    live_beside: float
    restart: float
    drained: int
    drain_seconds: float
    largest: dict[str, int] = field(default_factory=dict)

    @property
    def is_short(self) -> bool:
        """Whether not all that was queued arrived."""
        return self.drained < self.queued

    def rows(self) -> list[tuple[str, str]]:
        """Return the figures as they are told."""
        change = self.live_beside / max(self.live_before, 1e-9) - 1
        return [
            ("queued for a dead destination", f"{self.queued:,}, at {self.queued_rate:,.0f}/s"),
            ("live mail before", f"{self.live_before:,.0f}/s end to end"),
            ("live mail beside the queue", f"{self.live_beside:,.0f}/s, {change:+.1%}"),
            ("start on the full queue", f"{self.restart:.1f} s until all processes are ready"),
            ("largest RSS", _sizes(self.largest)),
            ("drained", f"{self.drained:,} in {self.drain_seconds:,.0f} s"),
        ]


@dataclass
class Figures:
    """The last run of each part, None if there was none."""

    through: Through | None = None
    beside: Beside | None = None


def _sizes(memory: dict[str, int]) -> str:
    return ", ".join(f"{name} {octets / 1e6:.0f} MB" for name, octets in memory.items())


def load(path: Path) -> Figures:
    """Return the figures in a file; empty if there is no such file or it has another format."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Figures(
            Through(**kept["through"]) if kept["through"] else None,
            Beside(**kept["beside"]) if kept["beside"] else None,
        )
    except (OSError, ValueError, TypeError, KeyError):
        return Figures()


def save(figures: Figures, path: Path) -> None:
    """Write the figures into a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(figures), indent=1), encoding="utf-8")


def write_page(figures: Figures, path: Path) -> None:
    """Write the page."""
    lines = [_PAGE]
    for title, part in (("Through", figures.through), ("Beside", figures.beside)):
        if part is not None:
            lines += [f"## {title}, {part.date}\n", "| | |", "| --- | --- |"]
            lines += [f"| {name} | {text} |" for name, text in part.rows()]
            lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")
