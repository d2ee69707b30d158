"""
Leases slices of a message rate, so that several processes keep the rate together.

A record says for each owner how many messages it has begun in the window, and how many it may still
begin: a slice, a tenth of the limit, which is written before it is used. So a later process knows
what was sent, to within a slice, even by a process that died. Processes that send at the same time
take slices in turn, and their slices and begun messages together never exceed the limit.

An owner counts its own starts exactly, so a single owner loses nothing. These are pure functions of
the record and the time. Times come from the processes' clocks, so a window is as exact as those
agree.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from postroad.policy.model import Rate

SLICES = 10  # slices in a limit
_SHORTEST = timedelta(seconds=1)  # the least time for which a slice may be used
_GRACE = timedelta(seconds=5)  # how late an owner in line may be without losing its turn


@dataclass(frozen=True, slots=True)
class Slice:
    """A number of messages that an owner has begun, or may still begin, until `last`."""

    owner: str
    count: int
    last: datetime


@dataclass(frozen=True, slots=True)
class SliceTurn:
    """An owner's place in the line for a slice; void after `until`."""

    owner: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Record:
    """All slices of a window, and the line of owners that wait for one."""

    slices: tuple[Slice, ...] = ()
    line: tuple[SliceTurn, ...] = ()


@dataclass(frozen=True, slots=True)
class Leased:
    """The record to write. `count` messages may begin by `until`; with 0, try again at `until`."""

    record: Record
    count: int
    until: datetime


def size_of(rate: Rate) -> int:
    """Return how many messages a slice has."""
    return max(1, rate.count // SLICES)


def lifetime_of(rate: Rate) -> timedelta:
    """Return for how long a record must be kept after it was written."""
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
    Lease a slice to an owner that has begun messages at `starts` (in order).

    `certain` says that the record has what all owners wrote; otherwise nothing is leased.
    """
    size = size_of(rate)
    others = _others(record, rate, owner, now)
    begun = [start for start in starts if start + rate.window > now]
    line = [turn for turn in record.line if turn.until > now]
    before = _before(line, owner)
    own = _packed(owner, begun, size)
    if not certain:
        wait: datetime | None = now + _SHORTEST
    elif not others and not before:
        wait = None  # a single owner keeps the rate by its own count
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


def noted(
    record: Record,
    rate: Rate,
    owner: str,
    starts: Sequence[datetime],
    now: datetime,
    granted: Sequence[Slice] = (),
) -> Record:
    """Write down what an owner began, at `starts` (in order), and what it was granted elsewhere."""
    own = (*_packed(owner, starts, size_of(rate)), *granted)
    return Record((*_others(record, rate, owner, now), *own), record.line)


def completed(record: Record, slices: Sequence[Slice]) -> Record:
    """Add the slices of those owners of whom a record says nothing."""
    known = {each.owner for each in record.slices}
    missing = (each for each in slices if each.owner not in known)
    return Record((*record.slices, *missing), record.line)


def _others(record: Record, rate: Rate, owner: str, now: datetime) -> list[Slice]:
    """Return the slices of other owners that still count."""
    return [s for s in record.slices if s.owner != owner and s.last + rate.window > now]


def _usable(rate: Rate) -> timedelta:
    return max(rate.window / SLICES, _SHORTEST)


def _before(line: Sequence[SliceTurn], owner: str) -> list[SliceTurn]:
    """Return the turns that come before an owner's."""
    owners = [turn.owner for turn in line]
    return list(line[: owners.index(owner)] if owner in owners else line)


def _until_left(
    expiries: list[datetime], room: int, before: Sequence[SliceTurn]
) -> datetime | None:
    """Return when at most `room` of the messages that expire are left, None if that is now."""
    if room < 0:  # the others in line take all slices
        return min(turn.until for turn in before)
    return expiries[-room - 1] if len(expiries) > room else None


def _packed(owner: str, begun: Sequence[datetime], size: int) -> list[Slice]:
    """Return started messages as slices; each counts as begun when its last message was."""
    parts = [begun[at : at + size] for at in range(0, len(begun), size)]
    return [Slice(owner, len(part), part[-1]) for part in parts]


# ---------------------------------------------------------------- as bytes


def encode(record: Record) -> bytes:
    """Encode a record."""
    said = {
        "slices": [[s.owner, s.count, s.last.timestamp()] for s in record.slices],
        "line": [[turn.owner, turn.until.timestamp()] for turn in record.line],
    }
    return json.dumps(said).encode()


def decode(data: bytes) -> Record:
    """Decode a record; one in the format of another release counts as empty."""
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
