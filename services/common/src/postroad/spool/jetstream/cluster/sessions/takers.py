"""
Sessions as they are stored, and notes on disk of the processes that take mail, in case the servers
lose their memory.

Sessions and lane owners are in the servers' memory. If that is lost, a process that starts then
finds nobody, while others are alive and own lanes. So each process writes a note on disk before it
owns lanes, and deletes the note at its end.

The memory has a name, which the first process that finds none writes into it. Another name means
that the memory was lost. A session has the name of the memory that holds all claims of its process.

The servers let each role write only keys with its own name. So the key says who wrote a session,
and one that gives another role or id is not read. Only delivery takes mail: that another role does,
or uses connections, is not believed either.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import uuid4

from postroad.spool.agreement import SessionInfo
from postroad.spool.errors import SpoolError, SpoolUnavailable
from postroad.spool.jetstream.nats.key_value import Bucket, Outdated, is_deletion
from postroad.spool.jetstream.streams.subjects import is_stream_of_records
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

SESSION_KEYS = "session.>"
_TAKES = "delivery"
_MEMORY = "memory"
_NOTES = "taker"
# After a crash a note expires by itself.
_LASTS = timedelta(days=1)
# A live process writes its session every few seconds. A session without an end of its own counts
# for this long, which is more than the servers' clocks differ.
_FORGOTTEN = timedelta(minutes=10)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_LONGEST_REASON = 200  # characters of an error that a session tells
_MOST_REFUSING = 500  # streams that a session tells; each shard has two
_LONGEST_NAME = 500  # characters of a process, a pool
_MOST = 2**63  # of a number


@dataclass(frozen=True, slots=True)
class ServersMemory:
    """The servers' memory: its name, and since when it has this name, by the servers' clock."""

    name: str
    since: datetime


class Takers:
    """The name of the servers' memory, and the notes on disk. All raise SpoolUnavailable."""

    NOTED_AGAIN = timedelta(hours=1)  # so often a live process renews its note

    def __init__(self, presence: Bucket, disk: Bucket) -> None:
        self._presence = presence
        self._disk = disk

    async def memory(self) -> ServersMemory:
        """Return the servers' memory; name it if it has no name."""
        found = await self._presence.get(_MEMORY)
        if found is None:
            try:
                await self._presence.put(_MEMORY, uuid4().hex.encode(), expected=0)
            except Outdated:
                pass  # another process has named it
            found = await self._presence.get(_MEMORY)
        if found is None:
            raise SpoolUnavailable("the name of the servers' memory cannot be read yet")
        return ServersMemory(found.data.decode("ascii", "replace"), found.stored_at)

    async def note(self, info: SessionInfo) -> None:
        """Note that a process takes mail from now on; SpoolFull when there is no room."""
        await self._disk.put(f"{_NOTES}.{info.session_id}", encode(info), lifetime=_LASTS)

    async def noted(self) -> list[SessionInfo]:
        """Return the noted processes, with `memory` "": it is unknown where their claims are."""
        found, _ = await read_sessions(self._disk, f"{_NOTES}.*", lasting=2 * _LASTS)
        return [replace(info, memory="") for info in found]

    async def forget(self, session_id: str) -> None:
        """
        Delete a note; if that fails, it expires by itself.

        The deletion lasts as long as the note would: without it, a nats-server that is killed may
        bring the note back, and whoever starts then waits for that process.
        """
        key = f"{_NOTES}.{session_id}"
        try:
            await self._disk.remove(key, patience=timedelta(seconds=1), lifetime=_LASTS)
        except SpoolError as error:
            log.debug(
                "the note of a process that takes mail stays until it expires", error=str(error)
            )


def session_key(info: SessionInfo) -> str:
    """Return the key of a session: a role may write under its own name only."""
    return f"session.{info.role}.{info.session_id}"


def encode(info: SessionInfo) -> bytes:
    """Encode a session as it is stored."""
    return json.dumps(asdict(info), default=str).encode()


async def read_sessions(
    bucket: Bucket, keys: str = SESSION_KEYS, *, lasting: timedelta = _FORGOTTEN
) -> tuple[list[SessionInfo], int]:
    """
    Return the sessions stored under keys of a bucket, and the last revision.

    None of them is so much as `lasting` older than the latest.
    """
    found: list[tuple[datetime, SessionInfo]] = []
    latest, after, pending = _LONG_AGO, 0, 1
    while pending:
        page = await bucket.changes(keys, after=after)
        for message in page.messages:
            after, latest = message.sequence, max(latest, message.stored_at)
            if not is_deletion(message):
                info = _believed(bucket.key_of(message), _decode(message.data))
                found += [(message.stored_at, info)] if info is not None else []
        pending = page.pending if page.messages else 0
    return [info for stored_at, info in found if latest - stored_at < lasting], after


def _decode(data: bytes) -> SessionInfo | None:
    try:
        said = json.loads(data)
        info = SessionInfo(
            session_id=str(said["session_id"]),
            role=str(said["role"]),
            process=str(said["process"]),
            pool=str(said["pool"]),
            generation=int(said["generation"]),
            started=datetime.fromisoformat(said["started"]),
            taking=said.get("taking") is True,
            full=said.get("full") is True,
            unserved=tuple(str(pool) for pool in said.get("unserved", ())),
            stale=said.get("stale") is True,
            left_open=tuple((str(name), int(count)) for name, count in said.get("left_open", ())),
            settled=int(said.get("settled", sys.maxsize)),
            awaits=int(said.get("awaits", 0)),
            memory=str(said.get("memory", "")),
            refusing=_refusing(said.get("refusing", ())),
            features=tuple(str(each) for each in said.get("features", ())),
        )
        _check(info)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None  # of another release, or not a session: it counts as owning nothing
    return info


def _check(info: SessionInfo) -> None:
    """Raise ValueError for what others could not work with or show."""
    names = (info.session_id, info.process, info.pool, info.memory)
    if any(len(name) > _LONGEST_NAME or not name.isprintable() for name in names):
        raise ValueError("a name of a session")
    numbers = (info.generation, info.settled, info.awaits)
    if info.started.tzinfo is None or not all(0 <= number < _MOST for number in numbers):
        raise ValueError("a time or number of a session")


def _refusing(said: Iterable[tuple[object, object]]) -> tuple[tuple[str, str], ...]:
    """Return the streams of records among those that a session names, and why they refuse."""
    told = {}
    for stream, why in islice(said, _MOST_REFUSING):
        if is_stream_of_records(str(stream)):
            told[str(stream)] = str(why)[:_LONGEST_REASON]
    return tuple(told.items())


def _believed(key: str, info: SessionInfo | None) -> SessionInfo | None:
    """Return what is believed of a session; the notes of takers have no role in their keys."""
    _, *roles, session_id = key.split(".")
    if info is None or session_id != info.session_id or roles not in ([], [info.role]):
        return None
    return info if info.role == _TAKES else replace(info, taking=False, unserved=(), left_open=())
