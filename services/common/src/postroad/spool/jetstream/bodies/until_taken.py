"""
Retries small writes until the queue accepts them.

Deleting a body is such a write: it is a message, which nats-server refuses when storage is full,
just when room is needed. Without the deletion the body would stay until its time to live ends, for
weeks. So a refused write is kept by its subject and retried every two seconds.

Memory is bounded: if there are too many writes, the oldest are dropped, and a log line tells how
many.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Generic, TypeVar

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.errors import ClaimLost, SpoolError
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_MOST = 20_000  # writes in memory, some 400 octets each
_AT_ONCE = 16  # concurrent writes
_LAST_WORDS = 2.0  # seconds that closing may take
_PAUSE = 0.1

_What = TypeVar("_What")


class UntilTaken(Generic[_What]):
    """Pending writes, by a body's subject; `==` tells whether a write changed meanwhile."""

    def __init__(self, write: Callable[[_What], Awaitable[None]], *, every: timedelta) -> None:
        self._write = write
        self._every = every.total_seconds()
        self._noted: dict[str, _What] = {}
        self._left = 0  # writes that were dropped because there were too many
        self._tried: set[str] = set()  # subjects of writes that may have been stored
        self._writing: asyncio.Task[None] | None = None
        self._tasks = BackgroundTasks(INTERNAL_ERRORS)

    def get(self, subject: str) -> _What | None:
        """Return the pending write of a subject."""
        return self._noted.get(subject)

    def was_tried(self, subject: str) -> bool:
        """Whether a pending write may have been stored already."""
        return subject in self._tried

    def note(self, subject: str, what: _What) -> None:
        """Write this soon, and retry until it is accepted."""
        self._noted[subject] = what
        if len(self._noted) > _MOST:
            self.forget(next(iter(self._noted)))
            self._left += 1
        if self._writing is None or self._writing.done():
            self._writing = self._tasks.keep(self._write_later)

    def forget(self, subject: str) -> None:
        """Drop the pending write of a subject."""
        self._noted.pop(subject, None)
        self._tried.discard(subject)

    async def try_now(self, subject: str, what: _What) -> None:
        """Write this now; if that fails, or the caller is cancelled, retry it later."""
        self.note(subject, what)
        await self._try(subject, what)

    async def _write_later(self) -> None:
        while self._noted:
            await asyncio.sleep(self._every)
            await self._write_all()
            self._tell_left()

    def _tell_left(self) -> None:
        if self._left:
            log.warning(
                "deletions were given up; the bodies expire by themselves", count=self._left
            )
            self._left = 0

    async def _write_all(self) -> None:
        """Try all pending writes, until the queue refuses one."""
        noted = list(self._noted.items())
        for start in range(0, len(noted), _AT_ONCE):
            group = noted[start : start + _AT_ONCE]
            if not all(await asyncio.gather(*(self._try(*each) for each in group))):
                return

    async def _try(self, subject: str, what: _What) -> bool:
        """Try one write; return False if the queue refused it."""
        self._tried.add(subject)
        try:
            await self._write(what)
        except ClaimLost:  # another process's write came between
            return True
        except SpoolError as error:
            log.debug("a change to a body is written later", subject=subject, error=str(error))
            self._noted[subject] = self._noted.pop(subject, what)  # move it to the end
            return False
        if self._noted.get(subject) == what:  # otherwise it has changed meanwhile
            self.forget(subject)
        return True

    async def close(self) -> None:
        """Try the pending writes for two seconds at most."""
        await self._tasks.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._write_all()
                while self._noted:
                    await asyncio.sleep(_PAUSE)
                    await self._write_all()
        self._left += len(self._noted)
        self._tell_left()
