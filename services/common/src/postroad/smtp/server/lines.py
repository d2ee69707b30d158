"""
Takes a client's command lines out of the input buffer. No I/O.

Only CRLF ends a line. A bare CR or LF is an error: if one server reads two commands where another
reads one, commands can be smuggled (CVE-2023-51764 and others).
"""

from postroad.smtp.errors import RemoteProtocolError

# As numbers: searching bytes for an integer takes a tenth of the time of searching for bytes.
_CR, _LF = b"\r\n"


class BareLineEnd(RemoteProtocolError):
    """A command has a CR or an LF that is no part of a CRLF."""


def take_line(buffer: bytearray) -> bytes | None:
    """
    Remove the first line from `buffer` and return it without its CRLF, None until it is complete.

    Raises BareLineEnd for a bare LF as soon as it comes, and for a bare CR once the line is
    complete.
    """
    end = buffer.find(b"\r\n")
    if end < 0:
        if _LF in buffer:
            raise BareLineEnd("a command has a bare LF")
        return None
    line = bytes(memoryview(buffer)[:end])
    del buffer[: end + 2]
    if _LF in line or _CR in line:
        raise BareLineEnd("a command has a bare CR or LF")
    return line
