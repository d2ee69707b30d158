"""Small writes that are repeated until the queue accepts them."""

import asyncio
from datetime import timedelta

from structlog.testing import capture_logs

from postroad.spool.jetstream.bodies.until_taken import UntilTaken
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.testing.patience import patient


async def test_a_write_that_fails_as_nobody_planned_is_told_and_tried_again() -> None:
    """It was told when the task's memory was reclaimed, if ever."""
    tries = asyncio.Semaphore(0)

    async def write(_: str) -> None:
        tries.release()
        if before == INTERNAL_ERRORS.value:
            raise ValueError("nobody planned this")

    before = INTERNAL_ERRORS.value
    writes = UntilTaken(write, every=timedelta(0))
    with capture_logs() as lines:
        async with asyncio.timeout(patient(5)):
            writes.note("a body", "once")
            await tries.acquire()
            while INTERNAL_ERRORS.value == before:
                await asyncio.sleep(0)
            writes.note("a body", "twice")
            await tries.acquire()
    await writes.close()
    assert [line["part"] for line in lines] == ["UntilTaken._write_later"]
    assert writes.get("a body") is None
