"""What a client says to a server, as values: the events of `smtp.server.conversation`."""

from typing import NamedTuple

from postroad.smtp.reply import Reply


class CommandLine(NamedTuple):
    """
    A line the client said, as it came, and the command in it: verb "" where it holds none.

    `refusal` is the reply that is due where there is no command, or where it is out of its order
    (RFC 5321 §4.1.4).
    """

    line: bytes
    verb: str
    argument: str
    refusal: Reply | None = None


class SaslResponse(NamedTuple):
    """A line that answers a 334 (RFC 4954 §4), None where it was too long."""

    line: bytes | None


class ContentPiece(NamedTuple):
    """
    Some of the content, without the dots that were added; none may be left of the last.

    `last`: the final dot has come behind it. `bare`: a bare CR or LF is in the content so far.
    """

    octets: bytes
    last: bool
    bare: bool


ServerEvent = CommandLine | SaslResponse | ContentPiece
