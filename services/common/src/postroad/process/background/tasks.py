"""
Background tasks that stay alive until they end, and whose failures are logged.

asyncio itself keeps only a weak reference to a task, and reports a failed one only when it is
garbage-collected, if ever. So each owner of tasks that nobody awaits has a BackgroundTasks. A
failure is logged at once, and the other tasks go on. A task that is awaited does not need this,
because its exception reaches the code that awaits it.

A loop that runs as long as its owner is *kept*: after an error that nobody planned for it begins
again. Otherwise the process would go on without it, until somebody reads the log.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from postroad.process.background.backoff import Backoff
from postroad.telemetry.instruments import Counter
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_PATIENCE = timedelta(seconds=2)
# Of a loop that begins again. Some extend leases, so the pause is shorter than a lease.
_BACKOFF = Backoff(timedelta(seconds=0.5), timedelta(seconds=5))

_Result = TypeVar("_Result")


class BackgroundTasks:
    """The background tasks of one owner; `failures` counts those that end in an exception."""

    def __init__(self, failures: Counter) -> None:
        self._failures = failures
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        """Start a task and keep it until it ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def keep(self, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Run `work` until it returns. After an unexpected error it runs again, a little later."""
        return self.spawn(self._keep(work))

    async def _keep(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        clock = asyncio.get_running_loop().time
        failures = 0
        while True:
            began = clock()
            coroutine = work()
            try:
                await coroutine
                return
            except Exception as error:
                self._failures.inc()
                part = getattr(coroutine, "__qualname__", repr(work))
                log.error("a background task failed; it begins again", part=part, exc_info=error)
            lasted = clock() - began > _BACKOFF.longest.total_seconds()
            failures = 1 if lasted else failures + 1
            await asyncio.sleep(_BACKOFF.seconds(failures, random))

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.inc()
            log.error("a background task failed", part=_name(task), exc_info=error)

    async def cancel(self, *, within: timedelta = _PATIENCE) -> None:
        """
        Cancel all tasks and wait until they have ended, `within` that time at most.

        Tasks that they spawn meanwhile are awaited as well, and cancelled when the time is over.
        """
        self._cancel_all()
        await self.end(within=within)

    async def end(self, *, within: timedelta = _PATIENCE) -> None:
        """Wait until all tasks have ended, and cancel those that have not `within` that time."""
        try:
            async with asyncio.timeout(within.total_seconds()):
                while others := self._tasks - {asyncio.current_task()}:
                    await asyncio.wait(others)
        except TimeoutError:
            self._cancel_all()

    def _cancel_all(self) -> None:
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()


def _name(task: asyncio.Task[Any]) -> str:
    """Return the name of the coroutine function. It is read only when a task fails."""
    return getattr(task.get_coro(), "__qualname__", task.get_name())
