"""
Hands one message to an SMTP server, and returns the server's answer.

An exception of smtplib becomes a sentence that says what to do. The most common failure is a --tls
that does not fit the port: then the server often sends nothing at all.
"""

import base64
import contextlib
import smtplib
import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from postroad.cli.errors import CommandError
from postroad.units.addresses import SocketAddress

_STEP = 60.0  # seconds for each step of the dialog
_FAREWELL = 5.0  # seconds for the answer to QUIT
_GREETING = 5.0  # seconds for the greeting, except on port 25, where servers delay it on purpose

_CUT_OFF = (ssl.SSLEOFError, ssl.SSLSyscallError, ssl.SSLZeroReturnError)


class Tls(StrEnum):
    """How the session is protected."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


def default_port(tls: Tls) -> int:
    """Return the usual port for this kind of TLS."""
    return {Tls.NONE: 25, Tls.STARTTLS: 587, Tls.IMPLICIT: 465}[tls]


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """How to reach a server: its address, the kind of TLS, and the login."""

    server: SocketAddress
    tls: Tls
    context: ssl.SSLContext
    login: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """The server's answer to a message: the last reply, its queue id, and refused recipients."""

    reply: str
    queue_id: str | None
    refused: dict[str, str]


def tls_context(insecure: bool, ca: Path | None) -> ssl.SSLContext:
    """Return a client's TLS context; CommandError when the certificates cannot be read."""
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
    except OSError as error:
        raise CommandError(
            f"cannot read the certificates in {ca}: {error.strerror or error}"
        ) from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def hand_over(access: ServerAccess, sender: str, to: list[str], content: bytes) -> ServerAnswer:
    """Hand over one message; CommandError without a session, or if all recipients are refused."""
    server = access.server
    try:
        session = _open(access)
        try:
            options = _mail_options(session, sender, to, content)
            return _transact(session, sender, to, content, options)
        finally:
            _leave(session)
    except smtplib.SMTPServerDisconnected as error:
        raise CommandError(f"{server} closed the connection without an answer") from error
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        raise CommandError(f"{server} answered {error.smtp_code} {text}") from error
    except ssl.SSLError as error:
        raise CommandError(why_no_tls(server, error)) from error
    except smtplib.SMTPException as error:
        raise CommandError(f"cannot talk to {server}: {error}") from error
    except OSError as error:
        why = error.strerror or error
        raise CommandError(f"cannot talk to {server}: {why}; is the relay running?") from error


def why_no_tls(server: SocketAddress, error: OSError) -> str:
    """Return a sentence that says what to do about a failed TLS handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"no TLS with {server}: the certificate is not valid ({error.verify_message});"
            " --ca names certificates to trust, --insecure trusts any"
        )
    reason = getattr(error, "reason", None)
    if reason == "WRONG_VERSION_NUMBER":
        return f"no TLS with {server}: it answers in clear; try --tls starttls or --tls none"
    return f"no TLS with {server}: {reason or error}"


def is_for_good(error: OSError) -> bool:
    """Whether a TLS handshake would fail the same way on every other connection."""
    return isinstance(error, ssl.SSLError) and not isinstance(error, _CUT_OFF)


def no_greeting(server: SocketAddress, tls: Tls) -> str:
    """Return a sentence that says why a port may send no greeting."""
    if tls is Tls.IMPLICIT:
        return f"no greeting from {server}"
    return f"no greeting from {server}; is this a TLS port? try --tls implicit"


def _open(access: ServerAccess) -> smtplib.SMTP:
    session = _connect(access)
    try:
        if access.tls is Tls.STARTTLS:
            _start_tls(session, access)
        session.ehlo()
        if access.login is not None:
            _log_in(session, access, access.login)
    except BaseException:
        session.close()
        raise
    return session


def _leave(session: smtplib.SMTP) -> None:
    """Send QUIT and close; the answer to it does not matter for the message."""
    with contextlib.suppress(smtplib.SMTPException, OSError):
        if session.sock is not None:
            session.sock.settimeout(_FAREWELL)
        session.docmd("QUIT")
    session.close()


def _connect(access: ServerAccess) -> smtplib.SMTP:
    host, port = access.server.host, access.server.port
    limit = _STEP if port == 25 else _GREETING
    session: smtplib.SMTP
    try:
        if access.tls is Tls.IMPLICIT:
            session = smtplib.SMTP_SSL(host, port, timeout=limit, context=access.context)
        else:
            session = smtplib.SMTP(host, port, timeout=limit)
    except smtplib.SMTPServerDisconnected as error:
        raise CommandError(no_greeting(access.server, access.tls)) from error
    assert session.sock is not None
    session.sock.settimeout(_STEP)
    return session


def _start_tls(session: smtplib.SMTP, access: ServerAccess) -> None:
    try:
        session.starttls(context=access.context)
    except smtplib.SMTPNotSupportedError as error:
        raise CommandError(
            f"{access.server} offers no STARTTLS; try --tls implicit on its TLS port, or --tls none"
        ) from error


def _log_in(session: smtplib.SMTP, access: ServerAccess, login: tuple[str, str]) -> None:
    offered = session.esmtp_features.get("auth", "").upper().split()
    try:
        if "".join(login).isascii() and ("PLAIN" not in offered or "CRAM-MD5" in offered):
            session.login(*login)
        else:
            _log_in_once(session, login)
    except smtplib.SMTPNotSupportedError as error:
        hint = "; try --tls starttls" if access.tls is Tls.NONE else ""
        raise CommandError(f"{access.server} takes no login here{hint}") from error


def _log_in_once(session: smtplib.SMTP, login: tuple[str, str]) -> None:
    """
    Log in with AUTH PLAIN, which is in UTF-8 (RFC 4616).

    smtplib's own login allows ASCII only. It also tries a refused password again with every other
    mechanism, and servers count each of these as a failed login.
    """
    if not session.has_extn("auth"):
        raise smtplib.SMTPNotSupportedError
    secret = base64.b64encode("\0".join(("", *login)).encode()).decode()
    code, text = session.docmd("AUTH", f"PLAIN {secret}")
    if code != 235:
        raise smtplib.SMTPAuthenticationError(code, text)


def _mail_options(session: smtplib.SMTP, sender: str, to: list[str], content: bytes) -> list[str]:
    options = []
    if not content.isascii() and session.has_extn("8bitmime"):
        options.append("BODY=8BITMIME")
    if not all(address.isascii() for address in [sender, *to]):
        if not session.has_extn("smtputf8"):
            raise CommandError(
                "an address has letters beyond ASCII, which this server does not take"
            )
        options.append("SMTPUTF8")
    return options


def _transact(
    session: smtplib.SMTP, sender: str, to: list[str], content: bytes, options: list[str]
) -> ServerAnswer:
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
        raise CommandError("; ".join(f"{address}: {reply}" for address, reply in refused.items()))
    code, text = session.data(content)
    if code != 250:
        raise smtplib.SMTPDataError(code, text)
    reply = text.decode(errors="replace")
    return ServerAnswer(f"{code} {reply}", _queue_id(reply), refused)


def _queue_id(reply: str) -> str | None:
    _, marker, queue_id = reply.partition("queued as ")
    return queue_id.split()[0] if marker and queue_id.split() else None
