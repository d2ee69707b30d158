"""
Runs work in a daemon thread, so that the process can end before the work does.

`asyncio.run` and the interpreter wait for the threads of `asyncio.to_thread`. A thread that hangs,
for example on a file system whose server is gone, would keep the process from ending.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any, TypeVar

_Result = TypeVar("_Result")


async def in_daemon_thread(work: Callable[..., _Result], *arguments: Any) -> _Result:
    """
    Run `work` in a thread of its own; return its result or raise its exception.

    When the caller is cancelled, the thread runs on. `work` must only read: it may be cut off at
    any point by the end of the process.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_Result] = loop.create_future()

    def tell(say: Callable[[Any], None], what: Any) -> None:
        if not done.done():
            say(what)

    def run() -> None:
        try:
            outcome = partial(tell, done.set_result, work(*arguments))
        except Exception as error:
            outcome = partial(tell, done.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits for the result
            loop.call_soon_threadsafe(outcome)

    Thread(target=run, daemon=True).start()
    return await done
