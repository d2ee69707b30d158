"""Options that several commands share, and how their values are read."""

from pathlib import Path
from typing import Annotated

import typer

from postroad.cli.cluster import Where
from postroad.cli.errors import Failure
from postroad.cli.kubectl import Place
from postroad.runtime.quantities import (
    ListenAddress,
    SocketAddress,
    parse_listen_address,
    parse_socket_address,
)

_KUBERNETES = "A cluster on Kubernetes"

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
ContextOption = Annotated[
    str | None,
    typer.Option(
        "--context",
        metavar="NAME",
        help="The kubeconfig context of a cluster to talk to, through kubectl port-forward.",
        rich_help_panel=_KUBERNETES,
    ),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAME",
        help="The namespace Postroad is installed in, when it is not the context's own.",
        rich_help_panel=_KUBERNETES,
    ),
]
ReleaseOption = Annotated[
    str | None,
    typer.Option(
        "--release",
        metavar="NAME",
        help="The Helm release, where a namespace has several.",
        rich_help_panel=_KUBERNETES,
    ),
]


def where(
    state: Path | None, context: str | None, namespace: str | None, release: str | None
) -> Where:
    """Return which cluster the options above mean."""
    return Where(state, Place(context, namespace, release))


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
