"""`postroad --version`."""

from importlib.metadata import version
from typing import Annotated

import typer


def _show(wanted: bool) -> None:
    if wanted:
        typer.echo(f"postroad {version('postroad')}")
        raise typer.Exit


def print_version(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """A mail relay that runs as a cluster: accepts mail, keeps it in JetStream, delivers it."""
