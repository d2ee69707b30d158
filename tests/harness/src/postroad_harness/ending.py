"""Runs a long job from the command line so that a signal also ends it in good order."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")


def run_orderly(work: Coroutine[Any, Any, T]) -> T:
    """
    Run `work` to its end and return its result.

    SIGTERM and Ctrl-C cancel it, so that its own clean-up ends every process that it started. Then
    this process ends with exit code 1 and a sentence.
    """

    async def guarded() -> T:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        return await task

    try:
        return uvloop.run(guarded())
    except asyncio.CancelledError:
        sys.exit("ended before it was done")
