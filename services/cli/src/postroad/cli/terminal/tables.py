"""
Tables that fit the width of the terminal.

If a table is wider than the terminal, long texts are cut first, down to a few words. Then columns
are left out, the least important first. `-o wide` shows everything. A pipe or a file has no width
unless $COLUMNS sets one, so nothing is cut or left out.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from postroad.cli.terminal.output import encodable
from postroad.mail.visible import visible

_GAP = 2  # characters between columns; rich pads each cell by one on both sides


@dataclass(frozen=True, slots=True)
class Column:
    """
    A column. If there is no room, those with the highest `rank` are left out first; rank 0 stays.

    A column with `least` may be cut down to that many characters before any column is left out.
    """

    name: str
    rank: int = 0
    least: int | None = None


def print_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, empty: str, wide: bool = False
) -> None:
    """Print rows under their columns, or the sentence `empty` if there are none."""
    if not rows:
        print(empty)
        return
    rows = [[encodable(visible(cell)) for cell in row] for row in rows]
    room = None if wide else _width()
    shown = fit(columns, rows, room)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, width in shown:
        cut = columns[number].least is not None
        table.add_column(
            columns[number].name,
            width=width,
            no_wrap=cut,
            overflow="ellipsis" if cut else "fold",
        )
    for row in rows:
        table.add_row(*(Text(row[number]) for number, _ in shown))
    # In a narrower console, rich would shrink every column, ids too.
    needed = sum(width + _GAP for _, width in shown)
    Console(width=room or needed).print(table)


def fit(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int | None
) -> list[tuple[int, int]]:
    """Return the numbers of the columns to show, in order, each with its width in characters."""
    natural = [
        max(cell_len(column.name), *(cell_len(row[number]) for row in rows))
        for number, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    if room is None:
        return [(number, natural[number]) for number in shown]
    least = [
        natural[number] if column.least is None else min(natural[number], column.least)
        for number, column in enumerate(columns)
    ]
    while _total(least, shown) > room and any(columns[number].rank for number in shown):
        shown.remove(max(shown, key=lambda number: columns[number].rank))
    widths = {number: least[number] for number in shown}
    spare = room - _total(least, shown)
    for number in shown:
        more = max(0, min(spare, natural[number] - widths[number]))
        widths[number] += more
        spare -= more
    return _squeezed(widths, spare)


def _total(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[number] for number in shown) + _GAP * (len(shown) - 1)


def _squeezed(widths: dict[int, int], spare: int) -> list[tuple[int, int]]:
    """Narrow the last columns until the table fits; their texts wrap into further lines."""
    for number in reversed(widths):
        if spare < 0:
            less = min(-spare, widths[number] - 1)
            widths[number] -= less
            spare += less
    return list(widths.items())


def _width() -> int | None:
    if sys.stdout.isatty():
        return Console().width
    said = os.environ.get("COLUMNS", "")
    return int(said) if said.isdigit() and int(said) else None
