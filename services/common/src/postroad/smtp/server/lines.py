"""
The lines that a client says outside of content, taken out of what has come. No I/O.

Only CRLF ends a line. A bare CR or LF is never taken for one, nor passed over: what one server
takes for two commands and another for one is how commands are smuggled (CVE-2023-51764 and its
kin).
"""

from postroad.smtp.server.refusals import BARE_LINE_END, UnreadableInput

# As numbers: an octet of bytes is found by its number at a tenth of what it takes by its text.
_CR, _LF = b"\r\n"


def take_line(buffer: bytearray) -> bytes | None:
    """
    Remove the first line from `buffer` and return it without its CRLF, None until it is whole.

    UnreadableInput where another line end is in it, as soon as that has come.
    """
    end = buffer.find(b"\r\n")
    if end < 0:
        if _LF in buffer:
            raise UnreadableInput(BARE_LINE_END)
        return None
    line = bytes(memoryview(buffer)[:end])
    del buffer[: end + 2]
    if _LF in line or _CR in line:
        raise UnreadableInput(BARE_LINE_END)
    return line
