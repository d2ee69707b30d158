"""
A message as NATS delivers it, with its header, which is read only by who wants to know it.

The wire form of a header is that of NATS: a line of its own, then fields as in mail.
"""

from collections.abc import Mapping

from postroad.mail.valueclass import valueclass

_VERSION_LINE = b"NATS/1.0"
_LINE_ENDS = frozenset("\r\n")


@valueclass(frozen=True, slots=True)
class Incoming:
    """A message; its header is parsed only on demand."""

    subject: str
    reply: str
    header: bytes
    data: bytes

    @property
    def status(self) -> str:
        """The status of a message from the server itself, "503"; of others, what was written so."""
        if not self.header:
            return ""
        line = self.header[len(_VERSION_LINE) :].partition(b"\r\n")[0]
        return line.decode("utf-8", "replace").strip()[:3]

    @property
    def description(self) -> str:
        """The text after the status."""
        line = self.header[len(_VERSION_LINE) :].partition(b"\r\n")[0]
        return line.decode("utf-8", "replace").strip()[3:].strip()

    def field(self, name: str) -> str | None:
        """Return a header field's value, None when there is none."""
        start = self.header.find(b"\r\n" + name.encode() + b":")
        if start < 0:
            return None
        value = self.header[start + len(name) + 3 :].partition(b"\r\n")[0]
        return value.decode("utf-8", "replace").strip()

    def fields(self) -> dict[str, str]:
        """
        Return all header fields. Of several of one name the last counts.

        The server adds its own fields, such as the sequence of a stored message, behind those that
        the message brought.
        """
        lines = self.header.decode("utf-8", "replace").split("\r\n")[1:]
        parted = (line.partition(":") for line in lines)
        return {name.strip(): value.strip() for name, colon, value in parted if colon}


def header_of(fields: Mapping[str, str]) -> bytes:
    """Encode header fields; ValueError for a line end in a value."""
    lines = [_VERSION_LINE]
    for name, value in fields.items():
        if not _LINE_ENDS.isdisjoint(value):
            raise ValueError(f"a line end in the header field {name}")
        lines.append(f"{name}: {value}".encode())
    return b"\r\n".join([*lines, b"", b""])
