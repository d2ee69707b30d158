"""The watch goes on however kopf ends, and reports when events may have been missed."""

import asyncio
import threading
from datetime import timedelta

import kopf
import pytest

from postroad.operator.kubernetes import watch as handlers
from postroad.operator.kubernetes.watch import Watch
from postroad.process.background.backoff import Backoff
from postroad.testing.patience import patient


@pytest.mark.parametrize("ending", [RuntimeError("no"), asyncio.CancelledError()])
async def test_a_watch_that_ends_begins_again(
    monkeypatch: pytest.MonkeyPatch, ending: BaseException
) -> None:
    runs = []

    async def operator(*, stop_flag: threading.Event, **_: object) -> None:
        runs.append(1)
        if len(runs) == 1:
            raise ending
        await asyncio.to_thread(stop_flag.wait)

    monkeypatch.setattr(kopf, "operator", operator)
    quick = timedelta(milliseconds=10)
    monkeypatch.setattr(handlers, "_BACKOFF", Backoff(quick, quick))
    missed = asyncio.Event()
    watch = Watch(lambda *_: None, [], missed.set)
    watch.start()
    async with asyncio.timeout(patient(5)):
        await missed.wait()
        while len(runs) < 2:
            await asyncio.sleep(0.01)
    await watch.stop()
    assert "watch" not in {thread.name for thread in threading.enumerate()}
