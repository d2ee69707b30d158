"""
The names of stored records: the stream, its shard, and the sequence there.

Each stream counts from 1, so a sequence alone names no record.
"""

from enum import StrEnum
from typing import NamedTuple


class QueueStream(StrEnum):
    """A kind of stream that stores records; each shard has one of each kind."""

    WAITING = "q"


class Key(NamedTuple):
    """Where a record is stored: the stream, its shard, and the sequence in the stream."""

    stream: QueueStream
    shard: int
    sequence: int

    @property
    def token(self) -> str:
        """
        The name within its shard, as one token of letters and digits.

        It is in headers and message ids that are stored, so it never changes its form.
        """
        return str(self.sequence)

    @classmethod
    def parse(cls, shard: int, token: str) -> "Key | None":
        """Return the key with this token; None if no record has such a name."""
        if not (token.isascii() and token.isdigit()) or int(token) == 0:
            return None
        return cls(QueueStream.WAITING, shard, int(token))
