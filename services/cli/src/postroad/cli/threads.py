"""
Work in a thread that nobody waits for at the end of the process.

The threads of `asyncio.to_thread` are waited for, first by asyncio.run and then by the interpreter:
who hangs in one, as on a file system whose server is gone, keeps the process from ending.
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
    Run `work` in a thread of its own, and return or raise what it does.

    Who is cancelled leaves the thread to itself. It must be work that may break off anywhere: it
    reads, and writes nothing.
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
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(outcome)

    Thread(target=run, daemon=True).start()
    return await done
