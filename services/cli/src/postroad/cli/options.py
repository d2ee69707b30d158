"""Options that several commands share, and how their values are read."""

from pathlib import Path
from typing import Annotated

import typer

from postroad.cli.errors import Failure
from postroad.runtime.quantities import (
    ListenAddress,
    SocketAddress,
    parse_listen_address,
    parse_socket_address,
)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIR",
        envvar="POSTROAD_STATE",
        help="State folder of the `postroad up` to talk to.",
        show_default="~/.local/state/postroad",
    ),
]


def server_address(text: str, *, option: str, default_port: int) -> SocketAddress:
    """Read `host:25`, `[::1]:25`, or a bare host; Failure says what the option takes."""
    bare = text.endswith("]") or ":" not in text
    try:
        return parse_socket_address(f"{text}:{default_port}" if bare else text)
    except ValueError as error:
        raise Failure(f"{option}: {error}", code=2) from error


def listen_address(text: str, *, option: str) -> ListenAddress:
    """Read where to listen; Failure says what the option takes."""
    try:
        return parse_listen_address(text)
    except ValueError as error:
        raise Failure(f"{option}: {error}", code=2) from error
