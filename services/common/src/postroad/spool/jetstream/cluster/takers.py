"""
Notes on disk of the processes that take mail, in case the servers lose their memory.

Sessions and lane owners are in the servers' memory. If that is lost, a process that starts then
finds nobody, while others are alive and own lanes. So each process writes a note on disk before it
owns lanes, and deletes the note at its end.

The memory has a name, which the first process that finds none writes into it. Another name means
that the memory was lost. A session has the name of the memory that holds all claims of its process.
"""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from postroad.spool.agreement import SessionInfo
from postroad.spool.errors import SpoolError, SpoolUnavailable
from postroad.spool.jetstream.cluster.stored_sessions import encode, read_sessions
from postroad.spool.jetstream.nats.key_value import Bucket, Outdated
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_MEMORY = "memory"
_NOTES = "taker"
# After a crash a note expires by itself. A live process renews its note long before.
_LASTS = timedelta(days=1)
NOTED_AGAIN = timedelta(hours=1)


class Takers:
    """The name of the servers' memory, and the notes on disk. All raise SpoolUnavailable."""

    def __init__(self, presence: Bucket, disk: Bucket) -> None:
        self._presence = presence
        self._disk = disk

    async def memory(self) -> str:
        """Return the name of the servers' memory; name it if it has none."""
        found = await self._presence.get(_MEMORY)
        if found is None:
            try:
                await self._presence.put(_MEMORY, uuid4().hex.encode(), expected=0)
            except Outdated:
                pass  # another process has named it
            found = await self._presence.get(_MEMORY)
        if found is None:
            raise SpoolUnavailable("the name of the servers' memory cannot be read yet")
        return found.data.decode("ascii", "replace")

    async def note(self, info: SessionInfo) -> None:
        """Note that a process takes mail from now on; SpoolFull when there is no room."""
        await self._disk.put(f"{_NOTES}.{info.session_id}", encode(info), lifetime=_LASTS)

    async def noted(self) -> list[SessionInfo]:
        """Return the noted processes, with `memory` "": it is unknown where their claims are."""
        found, _ = await read_sessions(self._disk, f"{_NOTES}.*")
        return [replace(info, memory="") for info in found]

    async def forget(self, session_id: str) -> None:
        """Delete a note; if that fails, it expires by itself."""
        second = timedelta(seconds=1)
        try:
            await self._disk.remove(f"{_NOTES}.{session_id}", patience=second, lifetime=second)
        except SpoolError as error:
            log.debug(
                "the note of a process that takes mail stays until it expires", error=str(error)
            )
