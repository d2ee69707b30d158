"""
The original's header as a notification returns it (RFC 6522 §4): ours to keep within the limits.

What came in may have lines of any length, octets of any charset, controls. A notification is a
message of our own and goes to hosts that are strict (RFC 5322 §2.1.1), so a header that is not
plain is made visible, line by line, and encoded.
"""

import re
from binascii import b2a_qp
from dataclasses import dataclass

from postroad.mail.visible import visible

_MOST = 64 * 1024  # octets
_PLAIN = re.compile(rb"(?:[\t\x20-\x7e]{0,998}\r\n)*")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A part's body, and its Content-Transfer-Encoding (RFC 2045 §6)."""

    octets: bytes
    encoding: str


def returned_header(header: bytes) -> Encoded:
    """Return a header block, cut to whole lines of 64 KiB in all; what is not plain is encoded."""
    block = header[:_MOST]
    if len(header) > _MOST:
        block = block[: block.rfind(b"\r\n") + 2] or block
    block = block.rstrip(b"\r\n") + b"\r\n"
    if _PLAIN.fullmatch(block):
        return Encoded(block, "7bit")
    lines = [_shown(line) for line in block[:-2].split(b"\r\n")]
    return quoted_printable("\r\n".join(lines) + "\r\n")


def quoted_printable(text: str) -> Encoded:
    """Return a text with CRLF line ends in 7 bits and short lines."""
    return Encoded(b2a_qp(text.encode("utf-8", "replace")), "quoted-printable")


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "backslashreplace")
    return "\t".join(map(visible, text.split("\t")))
