"""Tasks that nobody waits for: kept until they end, and heard of when they fail."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from postroad.delivery import metrics
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)


class Tasks:
    """The tasks of a process's delivery."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def spawn(self, work: Coroutine[Any, Any, object]) -> None:
        """Begin something."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            metrics.INTERNAL_ERRORS.inc()
            log.error("a part of delivery failed", exc_info=task.exception())

    async def cut_off(self, *, seconds: float) -> None:
        """
        Cut off whatever is under way; wait so long at most until it has ended.

        What it begins at its end is waited for as well, and cut off when the time is over.
        """
        self._cancel_all()
        try:
            async with asyncio.timeout(seconds):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            self._cancel_all()

    def _cancel_all(self) -> None:
        for task in list(self._tasks):
            task.cancel()
