"""
Queue ids, which name messages, and record ids, which name their parts for one domain.

A queue id has 128 bits in 26 characters: 48 bits of milliseconds, so that ids sort by arrival;
8 bits of shard, so that an id tells in which stream to look; and 72 random bits. The alphabet is
Crockford's base32 (without I, L, O, U), which is easy to read out over a telephone.
"""

import hashlib
import secrets
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_LETTERS = frozenset(_ALPHABET + _ALPHABET.lower())
_LENGTH = 26
_RANDOM_BITS = 72
# Random octets of a new id: two bits next to the shard, and a letter from each further octet.
_RANDOM_OCTETS = 15
_LETTER_OF = (_ALPHABET * 8).encode()
_TWO_LETTERS = range(5 * (_LENGTH - 2), -1, -10)  # how far each pair's ten bits are from the end


def new_queue_id(now: datetime, shard: int) -> str:
    """Return a new queue id for a message that arrives `now`, stored in `shard` (0 to 255)."""
    milliseconds = int(now.timestamp() * 1000)
    # Who could tell the next id of a process from its last ones could have its message refused as a
    # repetition, which looks like success. So each id asks the system.
    chance = secrets.token_bytes(_RANDOM_OCTETS)
    time = f"{_hour(milliseconds >> 20)}{_PAIRS[milliseconds >> 10 & 1023]}"
    place = f"{_PAIRS[milliseconds & 1023]}{_PAIRS[shard << 2 | chance[0] & 3]}"
    return f"{time}{place}{chance[1:].translate(_LETTER_OF).decode()}"


@lru_cache(maxsize=4)
def _hour(number: int) -> str:
    """Return the leading letters of a time, which change every 17 minutes."""
    return "".join([_PAIRS[number >> bits & 1023] for bits in (20, 10, 0)])


def derived_queue_id(now: datetime, shard: int, *, origin: str) -> str:
    """
    Return the queue id of a message that follows from another; it is a function of its arguments.

    A notification that is made again after a crash gets the same id, so the queue stores it once.
    `now` must depend on the origin, too: it is the arrival of the record, not the current time.
    """
    digest = hashlib.sha256(origin.encode()).digest()
    return _encode(now, shard, int.from_bytes(digest[:9], "big"))


def _encode(now: datetime, shard: int, chance: int) -> str:
    number = (int(now.timestamp() * 1000) << 80) | (shard << _RANDOM_BITS) | chance
    return "".join([_PAIRS[number >> bits & 1023] for bits in _TWO_LETTERS])


def shard_of(queue_id: str) -> int:
    """Return the shard in a queue id; raise ValueError when it is not a queue id."""
    if len(queue_id) != _LENGTH or not _LETTERS.issuperset(queue_id):
        raise ValueError(f"not a queue id: {queue_id!r}")
    # Its eight bits are in the last two letters before the random ones.
    pair = queue_id[10:12].upper()
    return (_VALUES[pair[0]] << 5 | _VALUES[pair[1]]) >> 2 & 0xFF


def arrival_of(queue_id: str) -> datetime:
    """Return when a queue id was made, to the millisecond; ValueError when it is not a queue id."""
    return datetime.fromtimestamp((_decode(queue_id) >> 80) / 1000, UTC)


def _decode(queue_id: str) -> int:
    if len(queue_id) != _LENGTH:
        raise ValueError(f"not a queue id: {queue_id!r}")
    number = 0
    for letter in queue_id.upper():
        value = _VALUES.get(letter)
        if value is None:
            raise ValueError(f"not a queue id: {queue_id!r}")
        number = number << 5 | value
    return number


class RecordId(NamedTuple):
    """
    One destination of one message: the queue id and the destination's number.

    `intake` is its sequence in the shard's intake, which only the servers give out: who accepts
    mail chooses both other parts, and may know those of another record. It is 0 until the record is
    stored, and for what was never in the intake.
    """

    queue_id: str
    destination: int
    intake: int = 0

    def __str__(self) -> str:
        stored = f"-{self.intake}" if self.intake else ""
        return f"{self.queue_id}-{self.destination}{stored}"

    @classmethod
    def parse(cls, text: str) -> "RecordId":
        """Read `<queue id>-<index>`, with `-<intake>` or without; ValueError for anything else."""
        queue_id, *numbers = text.split("-")
        if len(numbers) not in (1, 2) or not all(map(str.isdigit, numbers)):
            raise ValueError(f"not a record id: {text!r}")
        shard_of(queue_id)
        return cls(queue_id, *map(int, numbers))

    @property
    def former(self) -> "RecordId":
        """Return the id that an earlier build gave to what it took from the intake."""
        return self._replace(intake=0)

    @property
    def shard(self) -> int:
        """The shard that stores the record."""
        return shard_of(self.queue_id)
