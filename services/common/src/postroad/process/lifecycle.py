"""
The life cycle of a process: parts start in order, drain on request, and stop in reverse order.

The coroutine that builds a process registers, as it starts each part, how to drain it (take no new
work, finish the work in hand) and how to stop it. On a signal, a failed start or the death of a
part, every registered part is ended, the last one first. `entry.main` makes a program of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from postroad.process.health import MetricsPage, PageSource, Readiness, own_page
from postroad.telemetry import logs

STOP_LIMIT = timedelta(seconds=5)  # for each part, so that none can block the exit

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Ending:
    name: str
    run: Callable[[], Awaitable[object]]


class Process:
    """
    A running process, for the coroutine that builds it.

    `role` is its kind (ingress), `name` the instance (ingress-0). A supervisor replaces
    `metrics_page` to serve the metrics of its children as well. `pages` are further HTTP pages, by
    name.
    """

    def __init__(
        self, role: str, name: str, *, drain_timeout: timedelta, quiet: bool = False
    ) -> None:
        """With `quiet` the line `started` is logged at level debug: the supervisor has its own."""
        self.role = role
        self.name = name
        self.readiness = Readiness()
        self.metrics_page: MetricsPage = own_page
        self.pages: dict[str, PageSource] = {}
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
        """Whether the process is to drain and end."""
        return self._stopping.is_set()

    async def until_stopping(self) -> None:
        """Wait until the process is to drain and end."""
        await self._stopping.wait()

    def stop(self, exit_code: int = 0) -> None:
        """Make the process drain and end; the first exit code that is not 0 counts."""
        self.exit_code = self.exit_code or exit_code
        self._stopping.set()

    def on_drain(self, name: str, run: Callable[[], Awaitable[object]]) -> None:
        """
        Register a function that stops new work of a part and finishes the work in hand.

        The drains run one after the other, the last one first, all within the drain timeout.
        """
        self._drains.append(_Ending(name, run))

    def on_stop(self, name: str, run: Callable[[], Awaitable[object]]) -> None:
        """Register how to stop a part, after all drains; the last one first, 5 s for each."""
        self._stops.append(_Ending(name, run))

    def spawn(self, name: str, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        """
        Run `work` in the background until it returns, or is cancelled after the drains.

        If it raises, the process drains and ends with exit code 1: a restart is better than a
        process that lacks one of its parts.
        """
        task: asyncio.Task[object] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def live(self, build: Coroutine[Any, Any, None]) -> int:
        """
        Build the parts, wait for the stop, end the parts; return the exit code.

        If `build` raises, the started parts are ended first. A stop during `build` cancels it.
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
            _log.critical("a part died; the process ends", part=task.get_name(), exc_info=error)
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
            # The work in hand is still in the queue: another process will take it.
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
        # The other parts must still be ended. Our own timeout is a cancellation, which is not
        # caught here.
        _log.exception("a part failed while it was ended", part=ending.name)


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait((task,), timeout=STOP_LIMIT.total_seconds())
    if task.done() and not task.cancelled():
        task.exception()  # marks it as retrieved; the task's owner has reported it
