"""The log lines of delivery about records that a full disk does not accept."""

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any

from structlog.testing import capture_logs

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.ids import new_queue_id
from postroad.spool.interface import Put, Ready
from postroad.spool.jetstream.consume.settle import Settling
from postroad.spool.jetstream.timings import Timings
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import now, record


async def test_a_full_disk_is_told_of_by_some_lines_and_not_by_each_record() -> None:
    tries = 0
    enough = asyncio.Event()

    async def publish(*_: object, **__: object) -> None:
        nonlocal tries
        tries += 1
        if tries == 300:
            enough.set()
        raise SpoolUnavailable("no room")

    async def is_lost() -> bool:
        return False

    unused: Any = None
    tools: Any = SimpleNamespace(
        requests=unused,
        publisher=SimpleNamespace(publish=publish),
        blobs=unused,
        body_ends=unused,
        events=unused,
        capacity=SimpleNamespace(exhausted=False),
        timings=Timings(),
    )
    flow: Any = SimpleNamespace(hand=unused)
    settling = Settling(tools, flow, unused)
    waiting = record(new_queue_id(now(), 0))
    puts = [Put(waiting, Ready())]
    key = partial(Key, QueueStream.WAITING, 0)
    with capture_logs() as lines:
        settles = [
            asyncio.create_task(settling.settle(key(at), waiting, puts, [], is_lost))
            for at in range(100)
        ]
        async with asyncio.timeout(patient(20)):
            await enough.wait()
        for each in settles:
            each.cancel()
        await asyncio.wait(settles)
    assert 0 < len(lines) <= 30
    assert {line["event"] for line in lines} == {"what follows of a record cannot be stored yet"}
