"""Writes docs/chaos.md from the last chaos run."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from postroad_harness.chaos.account import ChaosFigures

_INTRO = """\
# Chaos

    make chaos

runs the relay under load and kills its processes with SIGKILL at random. There are two runs of ten
minutes: one with `postroad up`, and one on three nats-servers with three replicas, whose leaders
are killed. In both runs one next hop is slow, one defers three messages in ten, and one closes the
connection at two messages in ten without a reply to the final dot. Every message has a number. At
the end, every message that was answered `250` must have arrived. `make chaos SECONDS=60` is
shorter. The command writes this page, and `build/chaos.json` keeps the figures.

- *lost*: accepted, but never arrived.
- *duplicated*: arrived more than once. With at-least-once delivery this happens when a process dies
  between a next hop's `250` and the moment at which the queue learns of it.
- *ambiguous*: the sender lost its connection between the final dot and the reply. Such a message
  may have been stored, and its sender has to send it again.
- *take-up*: how long mail waited after a kill of a delivery process. For each kill this is the
  longest wait of a message to a healthy next hop. It counts messages that had not arrived at the
  kill, or were accepted in the second after it. Their wait begins at the kill, or at their own
  `250` if that was later. Another kill within that time makes the wait longer.
- *accept gap*: the longest time in which the whole service, or the worst of its shards, accepted
  nothing. *Delivery gap*: the longest time in which nothing arrived.
"""
_ROWS: tuple[tuple[str, Callable[[ChaosFigures], str]], ...] = (
    ("duration", lambda f: f"{f.seconds:.0f} s"),
    ("kills", lambda f: ", ".join(f"{kind} {number}" for kind, number in f.kills.items())),
    ("accepted", lambda f: f"{f.accepted:,}"),
    ("delivered", lambda f: f"{f.delivered:,}"),
    ("lost", lambda f: f"{f.lost}"),
    ("duplicated", lambda f: f"{f.duplicated}"),
    ("ambiguous, of them delivered", lambda f: f"{f.ambiguous}, {f.ambiguous_delivered}"),
    ("refused (4yz and 5yz)", lambda f: f"{f.refused}"),
    ("connections lost", lambda f: f"{f.connections_lost}"),
    ("take-up p50", lambda f: f"{f.take_up_p50:.1f} s"),
    ("take-up p99", lambda f: f"{f.take_up_p99:.1f} s"),
    ("accept gap, service", lambda f: f"{f.accept_gap:.1f} s"),
    ("accept gap, worst shard", lambda f: f"{f.shard_gap:.1f} s"),
    ("delivery gap", lambda f: f"{f.delivery_gap:.1f} s"),
    ("drained in", lambda f: f"{f.drained_in:.1f} s"),
    ("next hops deferred", lambda f: f"{f.hops['deferred']:,}"),
    ("next hops hung up", lambda f: f"{f.hops['disconnected']:,}"),
)


def write_page(runs: Sequence[ChaosFigures], path: Path) -> None:
    """Write the page."""
    lines = ["| | " + " | ".join(run.what for run in runs) + " |"]
    lines.append("| --- " * (len(runs) + 1) + "|")
    for title, cell in _ROWS:
        lines.append(f"| {title} | " + " | ".join(cell(run) for run in runs) + " |")
    date = datetime.now(UTC).date().isoformat()
    text = f"{_INTRO}\n## Last run, {date}\n\n" + "\n".join(lines) + "\n"
    path.write_text(text, encoding="utf-8")


def summary(run: ChaosFigures) -> str:
    """Return a run in one line each figure, for the terminal."""
    return "\n".join(f"  {title}: {cell(run)}" for title, cell in _ROWS)
