"""`postroad load`: its options, the live table, and the summary."""

import asyncio
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.live import Live
from rich.table import Table

from postroad.cli.commands.send import read_login
from postroad.cli.errors import CommandError
from postroad.cli.handover import Tls, default_port, tls_context
from postroad.cli.load.figures import LoadFigures
from postroad.cli.load.plan import LoadPlan
from postroad.cli.load.run import LoadRun
from postroad.cli.load.target import check_domains, permitted_address
from postroad.cli.terminal.options import (
    JsonFlag,
    TlsOption,
    mail_address,
    mail_domain,
    server_address,
)
from postroad.cli.terminal.output import print_json
from postroad.cli.terminal.values import decimal, duration, path, whole, wrong
from postroad.mail.visible import visible
from postroad.units.addresses import SocketAddress
from postroad.units.quantities import parse_size

_OPENING = 10.0  # seconds until any of the connections is to be ready for a message
_LOOK = 0.5  # seconds between two looks at a running load
_LARGEST = 1 << 30  # octets of a message, which is made in memory
_SENDERS = ("from@near.example",)
_SHOWN = 0.2  # weight of the latest measurement in the rate shown (a moving average)


def load(
    server: Annotated[
        str,
        typer.Option(metavar="ADDR[:PORT]", help="The SMTP server to load; ports as in `send`."),
    ] = "127.0.0.1:2525",
    messages: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole("--messages", 1),
            help="How many messages; 1000 without --for.",
        ),
    ] = None,
    length: Annotated[
        timedelta | None,
        typer.Option(
            "--for", metavar="DURATION", parser=duration("--for"), help="How long: 30s, 10m."
        ),
    ] = None,
    sessions: Annotated[
        int,
        typer.Option(
            metavar="N", parser=whole("--sessions", 1, 2000), help="Sessions at once, 2000 at most."
        ),
    ] = 20,
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            parser=decimal("--rate", 0.001),
            help="Messages a second; without it as fast as possible.",
        ),
    ] = None,
    per_connection: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole("--per-connection", 1),
            help="Messages on one connection; with 1 each message has a new one.",
        ),
    ] = None,
    size: Annotated[
        str,
        typer.Option(metavar="SIZE[:SHARE],…", help="Size of messages, or a mix of sizes."),
    ] = "4KiB",
    sender: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="ADDRESS", help="The sender; several are used in turn."),
    ] = None,
    domain: Annotated[
        str,
        typer.Option(
            metavar="DOMAIN", help="The recipients' domain; with --domains the parent of these."
        ),
    ] = "far.example",
    domains: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole("--domains", 1, 100_000),
            help="How many recipients' domains, 100000 at most.",
        ),
    ] = 1,
    recipients: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole("--recipients", 1, 1000),
            help="Recipients of each message, 1000 at most.",
        ),
    ] = 1,
    tls: TlsOption = Tls.NONE,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Accept any certificate, as mail servers usually do.")
    ] = False,
    ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", parser=path("--ca"), help="Trust the certificates in this file."
        ),
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="Log in as this user.")] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path("--password-file"),
            help="File with the password. Default: $POSTROAD_PASSWORD.",
        ),
    ] = None,
    permitted: Annotated[
        bool,
        typer.Option("--permitted", help="You may load that server, and mail those domains."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """
    Load a server with mail, and measure it.

    Counts what was accepted, deferred (4yz) and rejected (5yz), connections that were lost, and
    messages that may have been accepted because no answer came to their final dot. Latency is the
    time from a final dot to its 250. Exits with 1 when nothing was accepted.

    Without --permitted the server must be on this machine or a private network, and the domains of
    the recipients must be reserved ones, such as those below .example or .test. A load is always
    bounded: by --messages, --for, or both.

    Example: postroad load --messages 20000 --size 4KiB:9,100KiB:1 --domains 1000

    Example: postroad load --for 1m --rate 200 --per-connection 1 --tls starttls --insecure
    """
    target = server_address(server, option="--server", default_port=default_port(tls))
    names = [domain] if domains == 1 else [f"d{number}.{domain}" for number in range(domains)]
    mail_domain(names[0], option="--domain")
    check_domains([domain], permitted=permitted)
    senders = [mail_address(each, option="--from") if each else "" for each in sender or _SENDERS]
    seconds = length.total_seconds() if length is not None else None
    plan = LoadPlan(
        host=permitted_address(target, permitted=permitted),
        port=target.port,
        messages=messages if messages is not None or seconds is not None else 1000,
        seconds=seconds,
        sessions=sessions,
        rate=rate,
        per_connection=per_connection,
        sizes=parse_sizes(size),
        senders=senders,
        domains=names,
        recipients=recipients,
        tls=tls,
        context=tls_context(insecure, ca) if tls is not Tls.NONE else None,
        login=read_login(user, password_file),
        tls_name=target.host,
        opening=_OPENING,
    )
    run = LoadRun(plan)
    figures = uvloop.run(_follow(run, target, show=not as_json and sys.stderr.isatty()))
    _print_summary(run, figures, as_json=as_json)
    if not figures.accepted:
        raise CommandError(f"{target} accepted nothing: {run.why_nothing()}")


def parse_sizes(text: str) -> list[tuple[int, float]]:
    """Read `4KiB` or `4KiB:9,100KiB:1`: sizes in octets and their shares."""
    sizes = []
    for part in text.split(","):
        size, colon, share = part.strip().partition(":")
        weight = decimal("--size SIZE:", 0.001, 1e9)(share) if colon else 1.0
        try:
            octets = int(parse_size(size))
        except ValueError as error:
            raise CommandError(f"--size: {error}", code=2) from error
        if octets > _LARGEST:
            raise wrong("--size", "sizes up to 1GiB", size)
        sizes.append((octets, weight))
    return sizes


async def _follow(run: LoadRun, target: SocketAddress, *, show: bool) -> LoadFigures:
    """Run the load to its end or to a signal; show a table meanwhile."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, run.stop)
    running = asyncio.create_task(run.run())
    if not show:
        return await running
    rate = 0.0
    before = (0.0, 0)
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        while not running.done():
            await asyncio.wait([running], timeout=_LOOK)
            now = (run.seconds(), run.figures.accepted)
            last = (now[1] - before[1]) / max(now[0] - before[0], 1e-9)
            rate += (last - rate) * (_SHOWN if before[0] else 1.0)
            before = now
            live.update(_table(target, run.figures, rate, now[0]), refresh=True)
    return await running


def _table(target: SocketAddress, figures: LoadFigures, rate: float, seconds: float) -> Table:
    table = Table(
        title=f"{target}, {seconds:.0f} s", box=None, pad_edge=False, title_justify="left"
    )
    for name in ("accepted", "rate now", "4yz", "5yz", "lost", "ambiguous", "p50", "p99"):
        table.add_column(name, justify="right")
    latencies = figures.latencies
    table.add_row(
        str(figures.accepted),
        f"{rate:.0f}/s",
        str(figures.deferred),
        str(figures.rejected),
        str(figures.lost),
        str(figures.ambiguous),
        _milliseconds(latencies.percentile(0.5)),
        _milliseconds(latencies.percentile(0.99)),
    )
    return table


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds else "-"


def _print_summary(run: LoadRun, figures: LoadFigures, *, as_json: bool) -> None:
    if as_json:
        print_json(figures.summary())
        return
    seconds = max(figures.seconds, 1e-9)
    typer.echo(
        f"accepted {figures.accepted} in {figures.seconds:.1f} s:"
        f" {figures.accepted / seconds:.0f}/s, {figures.octets / seconds / 1e6:.1f} MB/s\n"
        f"deferred {figures.deferred}, rejected {figures.rejected}, ambiguous {figures.ambiguous};"
        f" connections {figures.connections}, lost {figures.lost}, refused {figures.refused}"
    )
    latencies = figures.latencies
    if not latencies.count:
        return  # the error says why
    typer.echo(
        f"from the final dot to 250: p50 {_milliseconds(latencies.percentile(0.5))},"
        f" p90 {_milliseconds(latencies.percentile(0.9))},"
        f" p99 {_milliseconds(latencies.percentile(0.99))},"
        f" longest {_milliseconds(latencies.longest)}"
    )
    if figures.first_refusal:
        typer.echo(visible(f"first refusal: {figures.first_refusal}"))
