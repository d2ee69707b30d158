"""`postroad sink`: its options, and running the server."""

import asyncio
import json
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from postroad.cli.errors import CommandError
from postroad.cli.sink.server import Sink, SinkBehaviour
from postroad.cli.sink.session import SinkProtocol
from postroad.cli.state.folder import default_state_folder
from postroad.cli.terminal.options import JsonFlag, listen_address
from postroad.cli.terminal.values import decimal, path, whole
from postroad.ingress.listen.certificate import self_signed
from postroad.process.sockets import bound_address, listen
from postroad.units.addresses import ListenAddress


def _share(option: str, help: str) -> Any:
    return typer.Option(metavar="SHARE", parser=decimal(option, 0, 1), help=help)


def sink(
    where: Annotated[
        str, typer.Option("--listen", metavar="ADDR[:PORT]", help="Where to listen.")
    ] = "127.0.0.1:2526",
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=path("--keep"),
            help="Keep the mail in this folder, in one .eml file for each message.",
        ),
    ] = None,
    keep_last: Annotated[
        int,
        typer.Option(
            metavar="N", parser=whole("--keep-last", 1), help="Keep no more than the last N."
        ),
    ] = 1000,
    defer: Annotated[float, _share("--defer", "Answer this part of the messages with 451.")] = 0.0,
    reject: Annotated[
        float, _share("--reject", "Answer this part of the messages with 550.")
    ] = 0.0,
    disconnect: Annotated[
        float,
        _share(
            "--disconnect", "For this part of the messages, close the connection without a reply."
        ),
    ] = 0.0,
    latency: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            parser=decimal("--latency", 0, 3600),
            help="Wait before the reply to a message.",
        ),
    ] = 0.0,
    defer_first: Annotated[
        bool, typer.Option("--defer-first", help="Defer the first try of each message.")
    ] = False,
    tls: Annotated[
        bool, typer.Option("--tls", help="Offer STARTTLS, with a certificate for localhost.")
    ] = False,
    auth: Annotated[
        str | None,
        typer.Option(metavar="USER:PASSWORD", help="Accept mail only after this login."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """
    Run an SMTP server that swallows mail, or keeps it.

    A SHARE is a part of the messages, from 0 to 1: `--defer 0.1` answers one message in ten with
    451. Stop it with Ctrl-C; it then prints its counts.

    With --tls and --auth it stands in for a provider's smarthost. It keeps its certificate and
    prints the path. A relay with this path in $POSTROAD_TLS_CA_FILE trusts the sink as `localhost`.

    Example: postroad sink --keep ./mail --defer 0.2 --latency 0.05

    Example: postroad sink --tls --auth example:secret
    """
    if defer + reject + disconnect > 1.0:
        raise CommandError(
            "--defer, --reject and --disconnect add up to more than 1; lower one of them", code=2
        )
    if keep is not None:
        _make_folder(keep)
    address = listen_address(where, option="--listen", default_port=2526)
    login = _login(auth) if auth is not None else None
    folder = default_state_folder() / "sink-tls"
    behaviour = SinkBehaviour(
        *(defer, reject, disconnect, latency, defer_first, keep, keep_last),
        tls=self_signed(folder, "localhost").context if tls else None,
        login=login,
    )
    server = Sink(behaviour)
    uvloop.run(_serve(server, address, folder / "cert.pem" if tls else None))
    _print_counts(server, as_json=as_json)


def _login(text: str) -> tuple[str, str]:
    user, _, password = text.partition(":")
    if not user or not password:
        raise CommandError("--auth takes USER:PASSWORD, neither of them empty", code=2)
    return user, password


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot keep mail in {folder}: {error.strerror}") from error


async def _serve(server: Sink, address: ListenAddress, certificate: Path | None) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    listener, where = await listen_sink(server, address)
    shown = f", with the certificate {certificate}" if certificate else ""
    typer.echo(f"sink listens on {where}{shown}", err=True)
    await stop.wait()
    listener.close()
    await server.hang_up()


async def listen_sink(server: Sink, address: ListenAddress) -> tuple[asyncio.Server, str]:
    """Open the sink's port and return its address; StartupError if it cannot be opened."""
    listener = listen(address)
    loop = asyncio.get_running_loop()
    serving = await loop.create_server(lambda: SinkProtocol(server), sock=listener)
    return serving, bound_address(listener)


def _print_counts(server: Sink, *, as_json: bool) -> None:
    counts = asdict(server.counts)
    if as_json:
        typer.echo(json.dumps(counts))
    else:
        typer.echo(", ".join(f"{name} {number}" for name, number in counts.items()))
