"""
Writes a client's commands as octets (RFC 5321 §4.1), with the parameters of its extensions.

`line` refuses every control character, so that no value from a message can add a command.
"""

import base64
import re
from collections.abc import Sequence

from postroad.mail.address import Mailbox
from postroad.mail.envelope import Ret
from postroad.smtp.errors import LocalProtocolError

_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")
_XTEXT = re.compile(r"[^\x21-\x2a\x2c-\x3c\x3e-\x7e]")


def xtext(text: str) -> str:
    """Encode a parameter's value (RFC 3461 §4)."""
    octets = text.encode("utf-8").decode("latin-1")
    return _XTEXT.sub(lambda match: f"+{ord(match[0]):02X}", octets)


def line(text: str) -> bytes:
    """Return one command line; LocalProtocolError when it has a control character."""
    if _UNSAFE.search(text):
        raise LocalProtocolError("a command would hold a control character")
    return text.encode("utf-8") + b"\r\n"


def mail(reverse_path: Mailbox | None, parameters: Sequence[str] = ()) -> bytes:
    """Return MAIL; `parameters` are written as they are."""
    return line(" ".join([f"MAIL FROM:<{reverse_path or ''}>", *parameters]))


def rcpt(forward_path: Mailbox, parameters: Sequence[str] = ()) -> bytes:
    """Return RCPT."""
    return line(" ".join([f"RCPT TO:<{forward_path}>", *parameters]))


def mail_dsn_parameters(ret: Ret | None, envid: str | None) -> list[str]:
    """Return MAIL's parameters of RFC 3461."""
    return [f"RET={ret}"] * bool(ret) + ([f"ENVID={xtext(envid)}"] if envid else [])


def auth_plain(username: str, password: str) -> bytes:
    """Return AUTH PLAIN with its initial response (RFC 4616)."""
    response = encoded(f"\0{username}\0{password}")
    return line(f"AUTH PLAIN {response}")


def encoded(text: str) -> str:
    """Return a SASL response in base64."""
    return base64.b64encode(text.encode("utf-8")).decode("ascii")
