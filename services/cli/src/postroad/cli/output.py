"""How lists are shown: a table for people, JSON lines for programs, peers' text made harmless."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import Enum

from rich.console import Console
from rich.table import Table
from rich.text import Text

from postroad.mail.visible import visible, visible_json

_NO_FOLD = 400  # columns


def print_json(row: object) -> None:
    """Print one row as one line of JSON."""
    print(visible_json(json.dumps(row, default=_plain, ensure_ascii=False)), flush=True)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print rows under their columns, or the sentence `empty` when there are none."""
    # A pipe or a file has no width: nothing is folded for it.
    console = Console() if sys.stdout.isatty() else Console(width=_NO_FOLD)
    if not rows:
        console.print(empty, markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console.print(table)


def ago(moment: datetime, now: datetime) -> str:
    """Return a distance in time as people say it: `12s ago`, `in 4m`."""
    seconds = int((moment - now).total_seconds())
    text = short(timedelta(seconds=abs(seconds)))
    return f"in {text}" if seconds > 0 else f"{text} ago"


def short(span: timedelta) -> str:
    """Return a duration in its largest unit: `45s`, `12m`, `3h`, `5d`."""
    seconds = int(span.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def size(octets: int) -> str:
    """Return a size in its unit: `812 B`, `4.0 KiB`, `50.0 MiB`."""
    amount = float(octets)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError("unreachable: the last unit always returns")
