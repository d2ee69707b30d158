"""`postroad check`: reports what is wrong in manifests, with file, line, field and reason."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

from postroad.cli.terminal.options import JsonFlag
from postroad.cli.terminal.output import print_json
from postroad.cli.terminal.values import path
from postroad.mail.visible import visible
from postroad.manifests.compiler.check import Examined, examine
from postroad.manifests.files.reader import ManifestReader, Mistake

_TELL_EVERY = 0.5  # seconds


def check(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH", parser=path("PATH"), help="Manifest files, or folders of them."
        ),
    ],
    as_json: JsonFlag = False,
) -> None:
    """
    Check manifests without a running relay.

    Prints `file:line: field: reason` for each mistake (`file: reason` if a file cannot be read) and
    exits with 1. Without a mistake it says what it looked at and exits with 0. A warning names what
    is valid, but perhaps not what you meant.

    Example: postroad check ./manifests
    """
    with _progress() as tell:
        examined = examine(paths, reader=ManifestReader(tell))
    mistakes = examined.checked.mistakes
    for mistake in mistakes:
        _tell(mistake, "mistake", as_json=as_json)
    for warning in examined.warnings:
        _tell(warning, "warning", as_json=as_json)
    if mistakes:
        raise typer.Exit(1)
    if not as_json:
        typer.echo(visible(_summary(examined)))


def _tell(found: Mistake, level: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(found), "level": level})
    else:
        typer.echo(visible(f"warning: {found}" if level == "warning" else str(found)))


def _summary(examined: Examined) -> str:
    """Return a line that says what was checked: "no mistake" alone would not show that."""
    counts = examined.counts
    kinds = ", ".join(_counted(number, kind) for kind, number in sorted(counts.items()))
    told = f"No mistakes in {_counted(sum(counts.values()), 'object')} ({kinds})"
    if not counts:
        told = "There is no object of Postroad here"
    if examined.passed_over:
        others = ", ".join(sorted(set(examined.passed_over)))
        told += f"; passed over: {len(examined.passed_over)} of other groups ({others})"
    return f"{told}."


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


@contextmanager
def _progress() -> Iterator[Callable[[int], None] | None]:
    """Show at a terminal how many objects were read so far; thousands of them take seconds."""
    if not sys.stderr.isatty():
        yield None
        return
    due = monotonic() + _TELL_EVERY

    def tell(count: int) -> None:
        nonlocal due
        if monotonic() >= due:
            due = monotonic() + _TELL_EVERY
            print(f"\r{count} objects read", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        print("\r\033[K", end="", file=sys.stderr, flush=True)  # clear the line
