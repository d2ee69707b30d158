"""`postroad send`: sends one message to an SMTP server, and prints the server's answer."""

import email.policy
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from email import message_from_bytes
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Annotated

import typer

from postroad.cli.errors import CommandError
from postroad.cli.handover import (
    ServerAccess,
    ServerAnswer,
    Tls,
    default_port,
    hand_over,
    tls_context,
)
from postroad.cli.terminal.options import JsonFlag, TlsOption, mail_address, server_address
from postroad.cli.terminal.output import print_json
from postroad.cli.terminal.values import is_text, one_line, path
from postroad.mail.visible import visible

Field = tuple[str, str]

# A line holds the longest address: the library ends the header before a longer word.
_WRITTEN = email.policy.SMTPUTF8.clone(max_line_length=330)
_OF_THE_TEXT = frozenset({"content-type", "content-transfer-encoding", "mime-version"})
_FIELD_NAME = re.compile(r"[!-9;-~]+")  # RFC 5322 §3.6.8


def send(
    to: Annotated[
        list[str], typer.Option("--to", metavar="ADDRESS", help="A recipient; may be repeated.")
    ],
    sender: Annotated[
        str, typer.Option("--from", metavar="ADDRESS", help='The sender; "" for the null sender.')
    ] = "sender@example.com",
    server: Annotated[
        str,
        typer.Option(
            metavar="ADDR[:PORT]",
            help="The SMTP server. Default port: 25, with --tls starttls 587, with implicit 465.",
        ),
    ] = "127.0.0.1:2525",
    subject: Annotated[
        str, typer.Option(metavar="TEXT", help="The subject, unless --file is given.")
    ] = "Hello",
    body: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="The text, unless --file is given; default: a greeting."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path("--file"),
            help="A whole message (RFC 5322) to send; - for stdin.",
        ),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:VALUE", help="A header field to add; may be repeated."),
    ] = None,
    tls: TlsOption = Tls.NONE,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Accept any certificate, such as a self-signed one.")
    ] = False,
    ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", parser=path("--ca"), help="Trust the certificates in this file."
        ),
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Log in with AUTH as this user.")
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path("--password-file"),
            help="File with the password. Default: $POSTROAD_PASSWORD.",
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """
    Send one message by SMTP.

    The message is made from the flags, or taken whole with --file. What the server answered is
    printed; a refusal exits with 1.

    Example: postroad send --to you@example.net --subject "First mail"

    Example: postroad send --server mail.example.com:465 --tls implicit --user webshop \\
    --password-file ./password --from shop@example.com --to you@example.net --file order.eml
    """
    endpoint = server_address(server, option="--server", default_port=default_port(tls))
    for address in to:
        mail_address(address, option="--to")
    if sender:
        mail_address(sender, option="--from")
    fields = [_split_field(text) for text in header or []]
    if not one_line(subject):
        raise CommandError(f"--subject takes one line of text, not {subject!r}", code=2)
    if body is not None and not is_text(body):
        raise CommandError("--body takes text in UTF-8", code=2)
    content = _whole(file, fields) if file else compose(sender, to, subject, body, fields)
    access = ServerAccess(endpoint, tls, tls_context(insecure, ca), read_login(user, password_file))
    answer = hand_over(access, sender, to, content)
    _print_answer(answer, as_json=as_json)


def _whole(file: Path, fields: Sequence[Field]) -> bytes:
    """Return the message in a file with CRLF line ends, after the given fields."""
    whole = _read(file).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in fields) + whole


def compose(
    sender: str,
    to: Sequence[str],
    subject: str,
    body: str | None = None,
    fields: Sequence[Field] = (),
) -> bytes:
    """Return a short message made from the flags."""
    message = EmailMessage()
    message["From"] = sender or "postmaster@localhost"
    message["To"] = ", ".join(to)
    message["Subject"] = subject
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain=(sender or to[0]).rpartition("@")[2])
    for name in {name for name, _ in fields if name in message}:
        del message[name]  # the user's field replaces ours
    for name, value in fields:
        if name.lower() in _OF_THE_TEXT:
            raise CommandError(
                f"--header: {f'{name}: {value}'!r} is not needed, since the message is plain text;"
                " --file sends any other",
                code=2,
            )
        try:
            message[name] = value
        except (ValueError, IndexError) as error:  # the library raises IndexError for `From: <`
            raise CommandError(f"--header: a field {name} cannot be {value!r}", code=2) from error
    message.set_content(body if body is not None else "Hello from Postroad.\n")
    content = message.as_bytes(policy=_WRITTEN)
    if message_from_bytes(content).keys() != message.keys():
        raise CommandError("--header: a word of a field is too long to be written", code=2)
    return content


def _split_field(text: str) -> Field:
    name, colon, value = text.partition(":")
    if not colon or not _FIELD_NAME.fullmatch(name) or not one_line(text):
        raise CommandError(f"--header takes NAME:VALUE on one line, not {text!r}", code=2)
    return name, value.strip()


def _read(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}") from error


def read_login(user: str | None, file: Path | None) -> tuple[str, str] | None:
    """Return a user and its password, from a file or the environment; None without a user."""
    if user is None:
        return None
    try:
        password = _read(file).decode().rstrip("\n") if file else os.environ["POSTROAD_PASSWORD"]
    except UnicodeDecodeError as error:
        raise CommandError(f"--password-file: {file} has no password in UTF-8", code=2) from error
    except KeyError:
        raise CommandError(
            "give the password with --password-file or in $POSTROAD_PASSWORD", code=2
        ) from None
    if not user or not is_text(user):
        raise CommandError(f"--user takes a name in UTF-8, not {user!r}", code=2)
    if not is_text(password) or "\0" in password:  # RFC 4616
        raise CommandError("the password is not text in UTF-8", code=2)
    return user, password


def _print_answer(answer: ServerAnswer, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(answer))
    else:
        typer.echo(visible(answer.reply))
        for address, reply in answer.refused.items():
            typer.echo(visible(f"refused: {address}: {reply}"), err=True)
    if answer.refused:
        raise typer.Exit(1)
