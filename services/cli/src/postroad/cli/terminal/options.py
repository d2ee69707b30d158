"""Options that several commands share, and how their values are read."""

from enum import StrEnum
from typing import Annotated

import typer

from postroad.cli.errors import CommandError
from postroad.cli.handover import Tls
from postroad.cli.terminal.values import one_of
from postroad.mail.address import normalise_domain, parse_mailbox
from postroad.mail.errors import AddressSyntaxError
from postroad.units.addresses import (
    ListenAddress,
    SocketAddress,
    parse_host_name,
    parse_listen_address,
    parse_socket_address,
)

TlsOption = Annotated[
    Tls,
    typer.Option(
        "--tls",
        metavar="MODE",
        parser=one_of("--tls", Tls),
        help="Protect the session: none, starttls or implicit.",
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]


class Form(StrEnum):
    """How a listing is printed, besides the usual table."""

    WIDE = "wide"
    JSON = "json"


FormOption = Annotated[
    Form | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FORM",
        parser=one_of("--output", Form),
        help="`wide`: all columns, even on a narrow terminal; `json`: as --json.",
    ),
]


def server_address(text: str, *, option: str, default_port: int) -> SocketAddress:
    """Read `host:25`, `[::1]:25`, or a bare host; CommandError says what the option takes."""
    try:
        address = parse_socket_address(_with_port(text, default_port))
        if address.port == 0:
            raise ValueError(f"{text!r} has port 0, where nobody listens")
    except ValueError as error:
        raise CommandError(f"{option}: {error}", code=2) from error
    if ":" in address.host:
        return address
    try:  # names in the DNS or in a container network, and IPv4 addresses
        return SocketAddress(normalise_domain(address.host), address.port)
    except AddressSyntaxError as error:
        raise CommandError(
            f"{option}: {address.host!r} is no host's name: {error}", code=2
        ) from error


def host_name(text: str, *, option: str) -> str:
    """Return a host name in lower-case A-labels; CommandError if it is no host name."""
    try:
        return parse_host_name(text)
    except ValueError as error:
        raise CommandError(f"{option}: {error}", code=2) from error


def listen_address(text: str, *, option: str, default_port: int) -> ListenAddress:
    """Read an address to listen on: like `server_address`, but an IP address, or none for all."""
    try:
        return parse_listen_address(_with_port(text, default_port))
    except ValueError as error:
        said = str(error).replace(repr(_with_port(text, default_port)), repr(text))
        raise CommandError(f"{option}: {said}", code=2) from error


def listener(text: str, *, option: str, default_port: int) -> ListenAddress | None:
    """Read the address of a relay's listener; `none` or an empty text switches it off."""
    if text.strip().lower() in ("", "none"):
        return None
    return listen_address(text, option=option, default_port=default_port)


def _with_port(text: str, default_port: int) -> str:
    bare = text.endswith("]") or ":" not in text
    return f"{text}:{default_port}" if bare else text


def mail_address(text: str, *, option: str) -> str:
    """Return a mail address unchanged; CommandError if it is not one."""
    try:
        mailbox = parse_mailbox(text)
    except AddressSyntaxError as error:
        raise CommandError(f"{option}: {text!r} is not a mail address: {error}", code=2) from error
    _check_has_dot(mailbox.domain, text, option)
    return text


def mail_domain(text: str, *, option: str) -> str:
    """Return a mail domain unchanged; CommandError if it is not one."""
    try:
        domain = normalise_domain(text)
    except AddressSyntaxError as error:
        raise CommandError(f"{option}: {text!r} is not a domain: {error}", code=2) from error
    _check_has_dot(domain, text, option)
    return text


def _check_has_dot(domain: str, text: str, option: str) -> None:
    # RFC 5321 §2.3.5: a fully-qualified name. A single label is a mistake, except localhost.
    if "." not in domain and not domain.startswith("[") and domain != "localhost":
        raise CommandError(
            f"{option}: {text!r} has a domain without a dot; write all of it", code=2
        )
