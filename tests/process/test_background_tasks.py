"""Background tasks: each failure is reported, and tasks end with their owner."""

import asyncio
from datetime import timedelta

from structlog.testing import capture_logs

from postroad.process.background.tasks import BackgroundTasks
from postroad.telemetry.instruments import Counter
from postroad.testing.patience import patient


async def fail() -> None:
    raise ValueError("nobody planned this")


async def test_a_task_that_fails_is_told_once_with_its_name_and_cause_and_counted() -> None:
    failures = Counter()
    tasks = BackgroundTasks(failures)
    with capture_logs() as lines:
        await asyncio.wait([tasks.spawn(fail())])
        await tasks.cancel()
    [line] = lines
    assert line["event"] == "a background task failed"
    assert line["log_level"] == "error"
    assert line["part"] == "fail"
    assert isinstance(line["exc_info"], ValueError)
    assert failures.value == 1


async def test_the_end_of_a_task_is_no_news() -> None:
    failures = Counter()
    tasks = BackgroundTasks(failures)
    with capture_logs() as lines:
        await tasks.spawn(asyncio.sleep(0))
        endless = tasks.spawn(asyncio.Event().wait())
        await tasks.cancel()
    assert endless.cancelled()
    assert not lines
    assert failures.value == 0


async def test_what_a_cancelled_task_begins_at_its_end_is_waited_for() -> None:
    tasks, stored = BackgroundTasks(Counter()), asyncio.Event()

    async def store() -> None:
        await asyncio.sleep(0)
        stored.set()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            tasks.spawn(store())

    tasks.spawn(work())
    await asyncio.sleep(0)
    await tasks.cancel(within=timedelta(seconds=patient(5)))
    assert stored.is_set()


async def test_a_task_that_does_not_end_is_waited_for_no_longer_than_said() -> None:
    tasks, may_end = BackgroundTasks(Counter()), asyncio.Event()

    async def stay() -> None:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue  # as a library may that loses one

    staying = tasks.spawn(stay())
    await asyncio.sleep(0)
    await tasks.cancel(within=timedelta(milliseconds=1))
    assert not staying.done()
    may_end.set()
    await staying


async def test_a_task_may_end_all_others() -> None:
    tasks = BackgroundTasks(Counter())
    other = tasks.spawn(asyncio.Event().wait())

    async def end() -> str:
        await tasks.cancel(within=timedelta(seconds=patient(5)))
        return "went on"

    assert await tasks.spawn(end()) == "went on"
    assert other.cancelled()


async def test_a_kept_loop_begins_again_after_an_error_which_is_told_and_counted() -> None:
    failures, began, worked = Counter(), 0, asyncio.Event()
    tasks = BackgroundTasks(failures)

    async def loop() -> None:
        nonlocal began
        began += 1
        if began == 1:
            raise ValueError("nobody planned this")
        worked.set()
        await asyncio.Event().wait()

    with capture_logs() as lines:
        tasks.keep(loop)
        await asyncio.wait_for(worked.wait(), patient(5))
        await tasks.cancel()
    [line] = lines
    assert line["event"] == "a background task failed; it begins again"
    assert line["part"].endswith("loop")
    assert isinstance(line["exc_info"], ValueError)
    assert failures.value == 1


async def test_a_kept_loop_that_returns_is_over() -> None:
    failures = Counter()
    tasks = BackgroundTasks(failures)
    with capture_logs() as lines:
        await asyncio.wait_for(tasks.keep(lambda: asyncio.sleep(0)), patient(5))
    assert not lines
    assert failures.value == 0
