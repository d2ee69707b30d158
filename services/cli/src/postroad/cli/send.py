"""`postroad send`: hand one message to an SMTP server, and say what it answered."""

import email.policy
import os
import smtplib
import ssl
import sys
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from postroad.cli.errors import Failure
from postroad.cli.options import JsonFlag, server_address
from postroad.cli.output import print_json
from postroad.mail.address import parse_mailbox
from postroad.mail.errors import AddressSyntaxError
from postroad.mail.visible import visible
from postroad.runtime.quantities import SocketAddress

_TIMEOUT = 60.0  # seconds for each step of the dialog


class Tls(StrEnum):
    """How the session is protected."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


def send(
    to: Annotated[
        list[str], typer.Option("--to", metavar="ADDRESS", help="A recipient; may be repeated.")
    ],
    sender: Annotated[
        str, typer.Option("--from", metavar="ADDRESS", help='Reverse-path; "" for the null one.')
    ] = "sender@example.com",
    server: Annotated[
        str, typer.Option(metavar="ADDR:PORT", help="The SMTP server to hand it to.")
    ] = "127.0.0.1:2525",
    subject: Annotated[str, typer.Option(help="Subject of a message made here.")] = "Hello",
    body: Annotated[
        str | None, typer.Option(help="Text of a message made here; else it is a short greeting.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A whole message (RFC 5322) to send; - for stdin."),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:VALUE", help="A header field to add; may be repeated."),
    ] = None,
    tls: Annotated[Tls, typer.Option(help="Protect the session.")] = Tls.NONE,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Accept any certificate, as of a first start.")
    ] = False,
    ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Trust the certificates in this file.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Log in with AUTH as this user.")] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The password's file; else $POSTROAD_PASSWORD is taken."),
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
    _check_addresses(sender, to)
    content = _content(file, sender, to, subject, body, header or [])
    login = (user, read_password(password_file)) if user is not None else None
    answer = _transact(endpoint, tls, tls_context(insecure, ca), login, sender, to, content)
    _print_answer(answer, as_json=as_json)


def default_port(tls: Tls) -> int:
    """Return the port where sessions are protected this way."""
    return {Tls.NONE: 25, Tls.STARTTLS: 587, Tls.IMPLICIT: 465}[tls]


def _check_addresses(sender: str, to: list[str]) -> None:
    for address in [*to, *([sender] if sender else [])]:
        try:
            parse_mailbox(address)
        except AddressSyntaxError as error:
            raise Failure(f"{address!r} is not a mail address: {error}", code=2) from error


def _content(
    file: Path | None,
    sender: str,
    to: list[str],
    subject: str,
    body: str | None,
    header: list[str],
) -> bytes:
    fields = [_split_field(text) for text in header]
    if file is not None:
        whole = _read(file).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        added = b"".join(f"{name}: {value}\r\n".encode() for name, value in fields)
        return added + whole
    message = EmailMessage()
    message["From"] = sender or "postmaster@localhost"
    message["To"] = ", ".join(to)
    message["Subject"] = subject
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain=(sender or to[0]).rpartition("@")[2])
    for name, value in fields:
        message[name] = value
    message.set_content(body if body is not None else "Hello from Postroad.\n")
    return message.as_bytes(policy=email.policy.SMTPUTF8)


def _split_field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.isascii() or not name.strip() or any(c in text for c in "\r\n\0"):
        raise Failure(f"--header takes NAME:VALUE on one line, not {text!r}", code=2)
    return name.strip(), value.strip()


def _read(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise Failure(f"cannot read {file}: {error.strerror}") from error


def read_password(file: Path | None) -> str:
    """Return the password from a file or the environment; Failure when there is none."""
    if file is not None:
        return _read(file).decode().rstrip("\n")
    password = os.environ.get("POSTROAD_PASSWORD")
    if password is None:
        raise Failure("give the password with --password-file or in $POSTROAD_PASSWORD", code=2)
    return password


def tls_context(insecure: bool, ca: Path | None) -> ssl.SSLContext:
    """Return a client's TLS context; Failure when the certificates cannot be read."""
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
    except OSError as error:
        raise Failure(f"cannot read the certificates in {ca}: {error}") from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _transact(
    endpoint: SocketAddress,
    tls: Tls,
    context: ssl.SSLContext,
    login: tuple[str, str] | None,
    sender: str,
    to: list[str],
    content: bytes,
) -> dict[str, object]:
    try:
        with _connect(endpoint, tls, context) as session:
            if login is not None:
                session.login(*login)
            options = _mail_options(session, sender, to, content)
            return _submit(session, sender, to, content, options)
    except smtplib.SMTPServerDisconnected as error:
        raise Failure(f"{endpoint} closed the connection without an answer") from error
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        raise Failure(f"{endpoint} answered {error.smtp_code} {text}") from error
    except ssl.SSLError as error:
        raise Failure(
            f"no TLS with {endpoint}: {error.reason or error}; --ca names certificates to trust,"
            " --insecure trusts any"
        ) from error
    except (smtplib.SMTPException, OSError) as error:
        raise Failure(f"cannot talk to {endpoint}: {error}; is the relay running?") from error


def _connect(endpoint: SocketAddress, tls: Tls, context: ssl.SSLContext) -> smtplib.SMTP:
    if tls is Tls.IMPLICIT:
        return smtplib.SMTP_SSL(endpoint.host, endpoint.port, timeout=_TIMEOUT, context=context)
    session = smtplib.SMTP(endpoint.host, endpoint.port, timeout=_TIMEOUT)
    if tls is Tls.STARTTLS:
        session.starttls(context=context)
    session.ehlo()
    return session


def _mail_options(session: smtplib.SMTP, sender: str, to: list[str], content: bytes) -> list[str]:
    options = []
    if not content.isascii() and session.has_extn("8bitmime"):
        options.append("BODY=8BITMIME")
    if not all(address.isascii() for address in [sender, *to]):
        if not session.has_extn("smtputf8"):
            raise Failure("an address has letters beyond ASCII, which this server does not take")
        options.append("SMTPUTF8")
    return options


def _submit(
    session: smtplib.SMTP, sender: str, to: list[str], content: bytes, options: list[str]
) -> dict[str, object]:
    session.command_encoding = "utf-8"
    code, text = session.mail(sender, options)
    if code != 250:
        raise smtplib.SMTPSenderRefused(code, text, sender)
    refused = {}
    for address in to:
        code, text = session.rcpt(address)
        if code not in (250, 251):
            refused[address] = f"{code} {text.decode(errors='replace')}"
    if len(refused) == len(to):
        raise Failure("; ".join(f"{address}: {reply}" for address, reply in refused.items()))
    code, text = session.data(content)
    if code != 250:
        raise smtplib.SMTPDataError(code, text)
    reply = text.decode(errors="replace")
    return {"reply": f"{code} {reply}", "queue_id": _queue_id(reply), "refused": refused}


def _queue_id(reply: str) -> str | None:
    _, marker, queue_id = reply.partition("queued as ")
    return queue_id.split()[0] if marker and queue_id.split() else None


def _print_answer(answer: dict[str, object], *, as_json: bool) -> None:
    refused = answer["refused"]
    assert isinstance(refused, dict)
    if as_json:
        print_json(answer)
    else:
        typer.echo(visible(str(answer["reply"])))
        for address, reply in refused.items():
            typer.echo(visible(f"refused: {address}: {reply}"), err=True)
    if refused:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class Letter:
    """A short message made on the spot."""

    sender: str
    to: tuple[str, ...]
    subject: str


def hand_over(server: SocketAddress, letter: Letter) -> str:
    """Send a letter in clear and return its queue id; Failure when it is not accepted."""
    to = list(letter.to)
    content = _content(None, letter.sender, to, letter.subject, None, [])
    answer = _transact(server, Tls.NONE, tls_context(False, None), None, letter.sender, to, content)
    return str(answer["queue_id"])
