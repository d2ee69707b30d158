"""`postroad check`: whether manifests would be accepted, with file, line, field and reason."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

from postroad.cli.options import JsonFlag
from postroad.cli.output import print_json
from postroad.mail.visible import visible
from postroad.policy.check import check as check_manifests
from postroad.policy.source import ManifestReader

_TELL_EVERY = 0.5  # seconds


def check(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Manifest files, or folders of them.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """
    Check manifests without a running relay.

    Prints `file:line: field: reason` for each mistake and exits with 1; with none it exits with 0.

    Example: postroad check ./manifests
    """
    with _progress() as tell:
        mistakes, _ = check_manifests(paths, reader=ManifestReader(tell))
    for mistake in mistakes:
        if as_json:
            print_json(
                {
                    "file": str(mistake.file),
                    "line": mistake.line,
                    "field": mistake.field,
                    "reason": mistake.reason,
                }
            )
        else:
            typer.echo(visible(str(mistake)))
    if mistakes:
        raise typer.Exit(1)
    if not as_json:
        typer.echo("No mistakes.")


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
        print("\r\033[K", end="", file=sys.stderr, flush=True)  # the line is taken back
