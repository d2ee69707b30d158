"""
The names of stored records: the stream, its shard, and the sequence there.

Each stream counts from 1, so a sequence alone names no record.
"""

from enum import StrEnum
from typing import NamedTuple


class QueueStream(StrEnum):
    """
    A kind of stream that stores records; each shard has one of each kind.

    Who accepts mail stores it in the intake, and may do nothing else with it. Delivery takes it
    from there, and stores what follows of it in the other stream: deferred and held mail, and
    notifications. So a process that accepts mail cannot harm what is stored. The value is the
    token in subjects.
    """

    INTAKE = "i"
    WAITING = "q"


class Key(NamedTuple):
    """
    Where a record is stored: the stream, its shard, and the sequence in the stream.

    Several records may be one message there, a pack (`spool.wire.pack`). Then `part` tells which
    of them it is, from 1; with 0 it is the key of the message.
    """

    stream: QueueStream
    shard: int
    sequence: int
    part: int = 0

    @property
    def message(self) -> "Key":
        """The key of the message that has the record."""
        return self._replace(part=0) if self.part else self

    @property
    def intake(self) -> int | None:
        """The sequence if it is in an intake, else None."""
        return self.sequence if self.stream is QueueStream.INTAKE else None

    @property
    def token(self) -> str:
        """
        The name within its shard, as one token of letters, digits and at most one hyphen.

        It is in headers and message ids that are stored, so it never changes its form.
        """
        mark = "" if self.stream is QueueStream.WAITING else self.stream
        return f"{mark}{self.sequence}-{self.part}" if self.part else f"{mark}{self.sequence}"

    @classmethod
    def parse(cls, shard: int, token: str) -> "Key | None":
        """Return the key with this token; None if no record has such a name."""
        rest = token.removeprefix(QueueStream.INTAKE)
        numbers = rest.split("-")
        if len(numbers) > 2 or not all(map(_is_positive, numbers)):
            return None
        stream = QueueStream.WAITING if rest == token else QueueStream.INTAKE
        return cls(stream, shard, *map(int, numbers))


def _is_positive(number: str) -> bool:
    return number.isascii() and number.isdigit() and int(number) > 0
