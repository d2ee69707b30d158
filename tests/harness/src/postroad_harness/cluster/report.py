"""
The report of the tests on a cluster: one row for each scenario, as JSON and as a page.

    python -Im postroad_harness.cluster.report build/cluster-tests.json docs/cluster-tests.md
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from postroad_harness.flow import Figures, Flow

RESULTS = Path("build/cluster-tests.json")

_BEGIN = "<!-- written by make e2e: from here to the end -->"
_COLUMNS = (
    ("accepted", "accepted"),
    ("delivered", "delivered"),
    ("lost", "lost"),
    ("duplicated", "duplicated"),
    ("in_doubt", "in doubt"),
    ("longest_gap", "longest gap"),
)


def promised(seconds: float) -> float:
    """Return how long something may take here: longer on a machine that is shared."""
    return seconds * float(os.environ.get("POSTROAD_E2E_PATIENCE") or 1)


async def settle(scenario: str, flow: Flow, **notes: Any) -> Figures:
    """End a flow, keep its row, and assert that nothing was lost and nothing refused for good."""
    figures = await flow.settle()
    tries = {f"`{what}`": number for what, number in flow.replies.items()}
    record(scenario, figures, **notes, **tries)
    assert figures.lost == 0, f"lost {figures.lost} of {figures.accepted}"
    assert not [said for said in flow.replies if said.startswith("5")], flow.replies
    return figures


def record(scenario: str, figures: Figures | None, **notes: Any) -> None:
    """Print a scenario's row and keep it, in place of the one it had."""
    print(f"\n{scenario}: {figures} {notes}")
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    rows[scenario] = {**(asdict(figures) if figures else {}), "notes": notes}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=2))


def table(rows: dict[str, Any]) -> str:
    """Return the rows as a table, by their scenarios' numbers."""
    lines = ["| scenario | " + " | ".join(title for _, title in _COLUMNS) + " | measured |"]
    lines.append("| --- " * (len(_COLUMNS) + 2) + "|")
    for scenario in sorted(rows, key=_number):
        row = rows[scenario]
        cells = [_cell(row.get(name)) for name, _ in _COLUMNS]
        measured = "; ".join(f"{what} {_cell(value)}" for what, value in row["notes"].items())
        lines.append(f"| {scenario} | " + " | ".join(cells) + f" | {measured} |")
    return "\n".join(lines) + "\n"


def _number(scenario: str) -> tuple[int, str]:
    first = scenario.partition(" ")[0].rstrip(".")
    digits = "".join(c for c in first if c.isdigit())
    return int(digits or 99), scenario


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.1f} s" if isinstance(value, float) else str(value)


def main(results: str, page: str) -> None:
    """Write the rows of `results` into `page`, after its hand-written part."""
    path = Path(page)
    head = path.read_text().partition(_BEGIN)[0]
    rows = json.loads(Path(results).read_text())
    path.write_text(f"{head}{_BEGIN}\n\n{table(rows)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
