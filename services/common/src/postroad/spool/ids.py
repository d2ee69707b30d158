"""
Names of messages and records: the queue id a client is told, the record id, the step's digest.

A queue id is 128 bits in 26 characters: 48 bits of milliseconds, so that ids sort by arrival;
8 bits of shard, so that whoever holds an id knows the stream to look in; 72 random bits. The
alphabet is Crockford's base32 (no I, L, O, U), which survives being read over a telephone.
"""

import hashlib
import random
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_LETTERS = frozenset(_ALPHABET + _ALPHABET.lower())
_LENGTH = 26
_RANDOM_BITS = 72
# What a fresh id draws by chance: two bits beside the shard's, and a letter from each octet more.
_RANDOM_OCTETS = 15
_LETTER_OF = (_ALPHABET * 8).encode()
_TWO_LETTERS = range(5 * (_LENGTH - 2), -1, -10)  # how far each pair's ten bits are from the end


def new_queue_id(now: datetime, shard: int) -> str:
    """Return a fresh queue id for a message that arrived `now` and lives in `shard` (0 to 255)."""
    milliseconds = int(now.timestamp() * 1000)
    # Unique, not secret: the generator is seeded by the system, and needs no call of it each time.
    chance = random.getrandbits(8 * _RANDOM_OCTETS).to_bytes(_RANDOM_OCTETS, "big")
    time = f"{_hour(milliseconds >> 20)}{_PAIRS[milliseconds >> 10 & 1023]}"
    place = f"{_PAIRS[milliseconds & 1023]}{_PAIRS[shard << 2 | chance[0] & 3]}"
    return f"{time}{place}{chance[1:].translate(_LETTER_OF).decode()}"


@lru_cache(maxsize=4)
def _hour(number: int) -> str:
    """Return the letters of a time that stay the same for a quarter of an hour."""
    return "".join([_PAIRS[number >> bits & 1023] for bits in (20, 10, 0)])


def derived_queue_id(now: datetime, shard: int, *, origin: str) -> str:
    """
    Return the queue id of a message that follows from another, always the same for one `origin`.

    A report made again after a crash gets the id it had, so the queue stores it once. `now` has to
    be derived from the origin too: the arrival of the record, not the clock.
    """
    digest = hashlib.sha256(origin.encode()).digest()
    return _encode(now, shard, int.from_bytes(digest[:9], "big"))


def _encode(now: datetime, shard: int, chance: int) -> str:
    number = (int(now.timestamp() * 1000) << 80) | (shard << _RANDOM_BITS) | chance
    return "".join([_PAIRS[number >> bits & 1023] for bits in _TWO_LETTERS])


def shard_of(queue_id: str) -> int:
    """Return the shard a queue id carries; raise ValueError when it is not a queue id."""
    if len(queue_id) != _LENGTH or not _LETTERS.issuperset(queue_id):
        raise ValueError(f"not a queue id: {queue_id!r}")
    # Its eight bits are in two letters, the last two that the random bits leave free.
    pair = queue_id[10:12].upper()
    return (_VALUES[pair[0]] << 5 | _VALUES[pair[1]]) >> 2 & 0xFF


def arrival_of(queue_id: str) -> datetime:
    """Return the moment a queue id was made, to the millisecond; ValueError when it is none."""
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
    """One destination of one message: the queue id and the destination's number."""

    queue_id: str
    destination: int

    def __str__(self) -> str:
        return f"{self.queue_id}-{self.destination}"

    @classmethod
    def parse(cls, text: str) -> "RecordId":
        """Read `<queue id>-<index>`; raise ValueError for anything else."""
        queue_id, dash, index = text.partition("-")
        if not dash or not index.isdigit():
            raise ValueError(f"not a record id: {text!r}")
        shard_of(queue_id)
        return cls(queue_id, int(index))

    @property
    def shard(self) -> int:
        """The shard the record lives in."""
        return shard_of(self.queue_id)
