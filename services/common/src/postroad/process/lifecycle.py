"""
A process's life: parts start in order, drain when asked to, and stop in reverse order.

The coroutine that builds a process registers each part, as it starts, with what drains it (takes
nothing new, finishes what is in hand) and what stops it. Whatever happens later, a signal, a failed
start, a part that dies, everything registered so far is ended, the last one first. `entry.main`
makes a whole program of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from postroad.process.health import MetricsPage, Page, Readiness, own_page
from postroad.telemetry import logs

STOP_LIMIT = timedelta(seconds=5)  # for each part: what hangs here would hang the exit

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Ending:
    name: str
    run: Callable[[], Awaitable[object]]


class Process:
    """
    A running process, as the coroutine that builds it sees it.

    `role` is what it is (ingress), `name` which one (ingress-0). `metrics_page` may be replaced by
    who serves other processes' metrics with its own; `pages` are further ones over HTTP, by name.
    """

    def __init__(
        self, role: str, name: str, *, drain_timeout: timedelta, quiet: bool = False
    ) -> None:
        """With `quiet` somebody else tells people that it has started."""
        self.role = role
        self.name = name
        self.readiness = Readiness()
        self.metrics_page: MetricsPage = own_page
        self.pages: dict[str, Page] = {}
        self.exit_code = 0
        self._drain_timeout = drain_timeout
        self._quiet = quiet
        self._stopping = asyncio.Event()
        self._built = False
        self._drains: list[_Ending] = []
        self._stops: list[_Ending] = []
        self._tasks: set[asyncio.Task[object]] = set()
        self.readiness.add("process", self._why_not_ready)

    @property
    def stopping(self) -> bool:
        """Whether the process was asked to drain and end."""
        return self._stopping.is_set()

    async def until_stopping(self) -> None:
        """Wait until the process is asked to drain and end."""
        await self._stopping.wait()

    def stop(self, exit_code: int = 0) -> None:
        """Ask the process to drain and end; the first exit code that is not 0 stands."""
        self.exit_code = self.exit_code or exit_code
        self._stopping.set()

    def on_drain(self, name: str, run: Callable[[], Awaitable[object]]) -> None:
        """
        Register what takes nothing new and finishes what is in hand.

        Run one after the other, last registered first, all within the drain timeout.
        """
        self._drains.append(_Ending(name, run))

    def on_stop(self, name: str, run: Callable[[], Awaitable[object]]) -> None:
        """Register what ends a part after all drains; last registered first, 5 s for each."""
        self._stops.append(_Ending(name, run))

    def spawn(self, name: str, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        """
        Run `work` beside the rest until it returns, or is cancelled after the drains.

        Work that ends in an exception takes the process down, with exit code 1 after a drain: a
        process that lives on without one of its parts is worse than one that is started again.
        """
        task: asyncio.Task[object] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def live(self, build: Coroutine[Any, Any, None]) -> int:
        """
        Build the parts, be there until asked to stop, end the parts; return the exit code.

        What `build` raises is raised again when the parts that had started are ended. A stop that
        is asked for meanwhile cancels it.
        """
        building = asyncio.create_task(build, name="build")
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((building, stopping), return_when=asyncio.FIRST_COMPLETED)
            if building.done():
                building.result()
                self._built = True
                (_log.debug if self._quiet else _log.info)("started")
                await stopping
        finally:
            stopping.cancel()
            await _cancelled(building)
            self._stopping.set()
            await self._drain()
            await self._stop_parts()
        return self.exit_code

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("a part died, the process ends", part=task.get_name(), exc_info=error)
            self.stop(exit_code=1)

    def _why_not_ready(self) -> str | None:
        if self.stopping:
            return "draining"
        return None if self._built else "starting"

    async def _drain(self) -> None:
        _log.info("draining")
        seconds = self._drain_timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                for ending in reversed(self._drains):
                    await _end(ending)
        except TimeoutError:
            # What was in hand is in the queue still: somebody else takes it up.
            _log.warning("the drain ran out of time", seconds=seconds)

    async def _stop_parts(self) -> None:
        for task in tuple(self._tasks):
            await _cancelled(task)
        for ending in reversed(self._stops):
            try:
                async with asyncio.timeout(STOP_LIMIT.total_seconds()):
                    await _end(ending)
            except TimeoutError:
                _log.warning("a part did not stop in time", part=ending.name)
        _log.info("stopped")


async def _end(ending: _Ending) -> None:
    try:
        await ending.run()
    except Exception:
        # The other parts must be ended all the same. A timeout of ours comes as a cancellation
        # and passes.
        _log.exception("a part failed to end well", part=ending.name)


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait((task,), timeout=STOP_LIMIT.total_seconds())
    if task.done() and not task.cancelled():
        task.exception()  # seen; whoever owns the task has told it
