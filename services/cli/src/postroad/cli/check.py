"""`postroad check`: whether manifests would be accepted, with file, line, field and reason."""

from pathlib import Path
from typing import Annotated

import typer

from postroad.cli.options import JsonFlag
from postroad.cli.output import print_json
from postroad.policy.check import check as check_manifests


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
    mistakes, _ = check_manifests(paths)
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
            typer.echo(str(mistake))
    if mistakes:
        raise typer.Exit(1)
    if not as_json:
        typer.echo("No mistakes.")
