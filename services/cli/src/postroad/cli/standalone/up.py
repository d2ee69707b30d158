"""`postroad up`: its options, and running the relay of one machine."""

import os
import resource
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from postroad.cli.all_settings import known_names, set_by_hand
from postroad.cli.errors import CommandError
from postroad.cli.standalone.relay import NoSettings, StandaloneOptions, StandaloneRelay, Workers
from postroad.cli.state.configured import refuse_example
from postroad.cli.state.folder import StateFolder, default_state_folder, lock_up
from postroad.cli.terminal.options import host_name, listener
from postroad.cli.terminal.values import path, wrong
from postroad.process import entry
from postroad.process.descriptors import raise_limit
from postroad.process.sockets import bound_address, listen
from postroad.units.addresses import ListenAddress, parse_name_server
from postroad.units.quantities import format_duration, parse_duration

_DRAIN = timedelta(seconds=25)
# File descriptors: of `up` and nats-server, twice what they use with no mail, and for each process.
_OWN_FILES, _FILES_FOR_EACH = 112, 8
_PARTS = {"aiosmtpd": "aiosmtpd", "dns": "dnspython"}
_PORTS = {"relay": 2525, "submission": 2587, "submissions": 2465}
_WHERE = "ADDR[:PORT]"
_OWN_DRAIN = timedelta(seconds=15)  # more than its processes have, because `up` ends after them


def up(
    config: Annotated[
        list[Path] | None,
        typer.Option(
            "--config",
            metavar="PATH",
            parser=path("--config"),
            help="A manifest file or a folder of them; may be repeated. Without it `up` runs an"
            " example, whose mail ends in a sink on this machine. `up` refuses that if the state"
            " folder is of a relay that had manifests of its own.",
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=path("--state"),
            envvar="POSTROAD_STATE",
            help="Where the queue, keys and certificates are kept.",
            show_default="~/.local/state/postroad",
        ),
    ] = None,
    relay: Annotated[
        str,
        typer.Option(
            metavar=_WHERE,
            help="Where to listen for mail of other servers; port 25 in production.",
        ),
    ] = "127.0.0.1:2525",
    submission: Annotated[
        str,
        typer.Option(
            metavar=_WHERE,
            help="Where to listen for submission with STARTTLS; port 587 in production.",
        ),
    ] = "127.0.0.1:2587",
    submissions: Annotated[
        str,
        typer.Option(
            metavar=_WHERE,
            help="Where to listen for submission with TLS from the first byte; port 465 in"
            " production.",
        ),
    ] = "127.0.0.1:2465",
    http: Annotated[
        str,
        typer.Option(
            metavar=_WHERE, help="Where to serve /metrics, /healthz and /readyz of the relay."
        ),
    ] = "127.0.0.1:8025",
    workers: Annotated[
        str, typer.Option(metavar="ingress=N,delivery=N", help="Number of processes of each kind.")
    ] = "ingress=1,delivery=1",
    hostname: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            envvar="POSTROAD_HOSTNAME",
            help="The relay's host name in SMTP: the name that the DNS has for its address.",
            show_default="this machine's name",
        ),
    ] = None,
    resolver: Annotated[
        str | None,
        typer.Option(metavar=_WHERE, help="Ask this DNS server instead of the system's."),
    ] = None,
) -> None:
    """
    Run the relay on this machine.

    Starts an embedded nats-server, publishes the manifests, and keeps the ingress and delivery
    processes running. Edited manifests apply live. For an address, `none` switches the port off,
    and port 0 takes any free port. Ctrl-C or SIGTERM drains and stops the relay; queued mail stays
    in the state folder.

    $POSTROAD_SMTP_PORT sets the port of MX hosts (default 25). $POSTROAD_ALLOW_PRIVATE_MX=1 allows
    delivery to MX hosts on loopback and private addresses.

    Example: postroad up

    Example: postroad up --config /etc/postroad --relay 0.0.0.0:25 --workers ingress=2,delivery=2
    """
    _require_parts()
    by_hand = set_by_hand(os.environ)
    if hostname:
        os.environ["POSTROAD_HOSTNAME"] = host_name(hostname, option="--hostname")
    options = StandaloneOptions(
        config=tuple(config or ()),
        state=state or default_state_folder(),
        listeners=_listeners(relay=relay, submission=submission, submissions=submissions),
        http=listener(http, option="--http", default_port=8025),
        workers=parse_workers(workers),
        resolver=_resolver(resolver),
        drain=_drain_timeout(),
        settings=by_hand,
    )
    _require_descriptors(options.workers)
    os.umask(0o077)  # files with mail, keys and passwords are readable by the owner alone
    folder = StateFolder(options.state)
    folder.prepare()
    lock_up(folder)  # before any port, so that a second relay names the first one as the cause
    if not options.config:
        refuse_example(folder)
    where = _open_page(options.http)
    os.environ["POSTROAD_DRAIN_TIMEOUT"] = format_duration(options.drain + _OWN_DRAIN)
    os.environ.setdefault("POSTROAD_PROCESS", "up")
    entry.main(
        "up",
        NoSettings,
        lambda process, _: StandaloneRelay(options, where, process).build(),
        known=known_names(),
    )


def _listeners(**given: str) -> dict[str, ListenAddress]:
    """Read the address of each port, without those that are switched off."""
    read = {
        name: listener(text, option=f"--{name}", default_port=_PORTS[name])
        for name, text in given.items()
    }
    listeners = {name: address for name, address in read.items() if address is not None}
    if not listeners:
        raise CommandError(
            "every port is off; leave one of --relay, --submission, --submissions", code=2
        )
    return listeners


def _open_page(address: ListenAddress | None) -> str | None:
    """Open the port of the HTTP pages, hand it to the process, and return its address."""
    os.environ.pop("POSTROAD_HTTP", None)
    if address is None:
        return None
    page = listen(address)
    where = bound_address(page)
    os.environ["POSTROAD_HTTP"] = f"fd:{page.detach()}"
    return where


def _require_parts() -> None:
    """Raise CommandError if a package that `up` needs is missing, as in the operator's image."""
    missing = [name for module, name in _PARTS.items() if find_spec(module) is None]
    if missing:
        raise CommandError(
            f"`postroad up` needs {', '.join(missing)} besides; run: pip install 'postroad[cli]'"
        )


def _require_descriptors(workers: Workers) -> None:
    """Raise the limit of open files as far as allowed; CommandError if the relay needs more."""
    needed = _OWN_FILES + _FILES_FOR_EACH * (workers.ingress + workers.delivery)
    limit = raise_limit()
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise CommandError(
            f"`postroad up` needs {needed} open files, and {limit} are allowed;"
            " raise the limit (ulimit -Hn, LimitNOFILE)"
        )


def _drain_timeout() -> timedelta:
    said = os.environ.get("POSTROAD_DRAIN_TIMEOUT", "").strip()
    try:
        return parse_duration(said) if said else _DRAIN
    except ValueError as error:
        raise CommandError(f"POSTROAD_DRAIN_TIMEOUT: {error}", code=2) from error


def _resolver(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return str(parse_name_server(text))
    except ValueError as error:
        raise CommandError(f"--resolver: {error}", code=2) from error


def parse_workers(text: str) -> Workers:
    """Read `ingress=N,delivery=N`; a kind that is not named has 1."""
    counts = {"ingress": 1, "delivery": 1}
    for part in text.split(","):
        name, equals, number = part.strip().partition("=")
        known = name in counts and equals and number.isascii() and number.isdigit()
        if not known or len(number) > 2 or not 1 <= int(number) <= 64:
            raise wrong("--workers", "ingress=N,delivery=N with N from 1 to 64", text)
        counts[name] = int(number)
    return Workers(**counts)
