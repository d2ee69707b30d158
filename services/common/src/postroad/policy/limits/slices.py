"""
How a message rate is kept by several processes, one beside or after the other: leased slices.

A record says of each owner what it has begun in the window, and what it may still begin: a slice of
a tenth of the limit, written down before it is used. So whoever comes later knows what was sent,
within a slice, also by a process that has died. Where two send at the same time, the slices and
what both have begun never add up to more than the limit; they take slices in turn.

The owner counts its own starts exactly, so one who is alone loses nothing by slices. Pure: the
record and the time in, the record out. Times are by the clocks of the processes, so a window is as
exact as those agree.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from postroad.policy.model import Rate

SLICES = 10  # in a limit
_SHORTEST = timedelta(seconds=1)  # that a slice may be used
_GRACE = timedelta(seconds=5)  # that who is in line may be late


@dataclass(frozen=True, slots=True)
class Slice:
    """Messages that an owner has begun, or may yet begin, until `last`."""

    owner: str
    count: int
    last: datetime


@dataclass(frozen=True, slots=True)
class SliceTurn:
    """A place in the line of those who wait for a slice; void after `until`."""

    owner: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a window."""

    slices: tuple[Slice, ...] = ()
    line: tuple[SliceTurn, ...] = ()


@dataclass(frozen=True, slots=True)
class Leased:
    """The record as it is to be; `count` messages may begin by `until`, or ask at `until` again."""

    record: Record
    count: int
    until: datetime


def size_of(rate: Rate) -> int:
    """Return how many messages a slice is."""
    return max(1, rate.count // SLICES)


def lifetime_of(rate: Rate) -> timedelta:
    """Return for how long a record matters after it was written."""
    return rate.window + _usable(rate) + timedelta(minutes=1)


def lease(
    record: Record,
    rate: Rate,
    owner: str,
    starts: Sequence[datetime],
    now: datetime,
    *,
    certain: bool = True,
) -> Leased:
    """
    Lease a slice to an owner, who has begun messages at `starts` (in order).

    `certain`: the record has what all owners wrote; as long as it may not, nothing is leased.
    """
    size = size_of(rate)
    others = [s for s in record.slices if s.owner != owner and s.last + rate.window > now]
    begun = [start for start in starts if start + rate.window > now]
    line = [turn for turn in record.line if turn.until > now]
    before = _before(line, owner)
    own = _packed(owner, begun, size)
    if not certain:
        wait: datetime | None = now + _SHORTEST
    elif not others and not before:
        wait = None  # its own count sees to the rest
    else:
        room = rate.count - size * (len(before) + 1)
        expiries = [s.last + rate.window for s in others for _ in range(s.count)]
        expiries += [start + rate.window for start in begun]
        wait = _until_left(sorted(expiries), room, before)
    if wait is None:
        until = now + _usable(rate)
        kept = tuple(turn for turn in line if turn.owner != owner)
        granted = Slice(owner, size, until)
        return Leased(Record((*others, *own, granted), kept), size, until)
    turn = SliceTurn(owner, wait + _GRACE)
    if any(each.owner == owner for each in line):
        queue = [turn if each.owner == owner else each for each in line]
    else:
        queue = [*line, turn]
    return Leased(Record((*others, *own), tuple(queue)), 0, wait)


def _usable(rate: Rate) -> timedelta:
    return max(rate.window / SLICES, _SHORTEST)


def _before(line: Sequence[SliceTurn], owner: str) -> list[SliceTurn]:
    """Return who is served before an owner."""
    owners = [turn.owner for turn in line]
    return list(line[: owners.index(owner)] if owner in owners else line)


def _until_left(
    expiries: list[datetime], room: int, before: Sequence[SliceTurn]
) -> datetime | None:
    """Return when no more than `room` of what expires then is left, None when that is so now."""
    if room < 0:  # others in line take all there is
        return min(turn.until for turn in before)
    return expiries[-room - 1] if len(expiries) > room else None


def _packed(owner: str, begun: Sequence[datetime], size: int) -> list[Slice]:
    """Return what was begun as slices, the last of each as if all of it had begun then."""
    parts = [begun[at : at + size] for at in range(0, len(begun), size)]
    return [Slice(owner, len(part), part[-1]) for part in parts]


# ---------------------------------------------------------------- as bytes


def encode(record: Record) -> bytes:
    """Write a record."""
    said = {
        "slices": [[s.owner, s.count, s.last.timestamp()] for s in record.slices],
        "line": [[turn.owner, turn.until.timestamp()] for turn in record.line],
    }
    return json.dumps(said).encode()


def decode(data: bytes) -> Record:
    """Read a record; of one that another release wrote otherwise, nothing is known."""
    try:
        said = json.loads(data)
        return Record(
            tuple(Slice(str(o), int(n), _moment(at)) for o, n, at in said["slices"]),
            tuple(SliceTurn(str(o), _moment(at)) for o, at in said["line"]),
        )
    except (ValueError, KeyError, TypeError):
        return Record()


def _moment(said: Any) -> datetime:
    return datetime.fromtimestamp(float(said), UTC)
