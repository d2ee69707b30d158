"""The backlog that is reported: by every operator, and of empty pools, too."""

import asyncio
from datetime import UTC, datetime

import pytest

from postroad.mail.traffic import TrafficClass
from postroad.operator.jetstream.backlog import BacklogCounts, as_json, pause_after
from postroad.queue import metrics as queue_metrics
from postroad.spool.backlog import Backlog
from postroad.spool.memory.spool import MemorySpool
from postroad.telemetry.metrics import exposition
from postroad.testing.patience import patient


def test_a_pool_without_mail_has_a_number() -> None:
    # KEDA takes a number that is missing for an error, and leaves the pool as large as it is.
    ready = {("other", TrafficClass.BULK): 2, ("bulk", TrafficClass.TRANSACTIONAL): 3}
    assert as_json(Backlog(ready, 0, 0), {"default": 0, "bulk": 0, "eu": 0}) == {
        "ready": 5,
        "readyTransactional": 3,
        "readyBulk": 2,
        "pools": {"default": 2, "bulk": 3, "eu": 0, "other": 2},
    }


def test_mail_of_a_pool_without_pods_counts_for_default_which_takes_it_over() -> None:
    """So that KEDA starts a pod of `default` for it where there is none."""
    ready = {("gone", TrafficClass.BULK): 2, ("default", TrafficClass.BULK): 1}
    assert as_json(Backlog(ready, 0, 0), {"default": 0})["pools"] == {"default": 3, "gone": 2}


def test_the_gauge_tells_of_a_pool_that_no_relay_names_and_of_its_end() -> None:
    gauges, now = queue_metrics.BacklogGauges(), datetime.now(UTC)
    gauges.show(Backlog({("gone", TrafficClass.BULK): 2}, 0, 0), now)
    assert 'postroad_queue_pool_ready{pool="gone"} 2.0' in exposition()
    gauges.show(Backlog({}, 0, 0), now)
    assert 'postroad_queue_pool_ready{pool="gone"} 0.0' in exposition()


async def test_who_stands_by_answers_and_shows_no_gauges() -> None:
    queue_metrics.WAITING.labels("held").set(77)
    counts = BacklogCounts(("bulk",), lambda: False)
    assert counts.page()[0] == 503
    counting = asyncio.create_task(counts.run(MemorySpool()))
    async with asyncio.timeout(patient(5)):
        while counts.page()[0] == 503:
            await asyncio.sleep(0.01)
    counting.cancel()
    status, said = counts.page()
    assert (status, said) == (
        200,
        {"ready": 0, "readyTransactional": 0, "readyBulk": 0, "pools": {"default": 0, "bulk": 0}},
    )
    assert 'postroad_queue_waiting{kind="held"} 77.0' in exposition()


class SlowToCount(MemorySpool):
    """A queue that takes 0.3 s to count, by its own clock."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = self  # type: ignore[assignment]
        self.clock = asyncio.get_running_loop().time()

    async def backlog(self) -> Backlog:
        self.clock += 0.3
        return Backlog({}, 0, 0)


async def test_a_queue_that_takes_long_to_count_is_counted_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two operators that counted a million subjects again and again kept its server busy."""
    pauses = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        raise asyncio.CancelledError

    counts = BacklogCounts((), lambda: False)
    queue = SlowToCount()
    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: queue.clock)
    with pytest.raises(asyncio.CancelledError):
        await counts.run(queue)
    assert counts.page()[0] == 200
    assert 6.0 <= pauses[0] <= 20.0


def test_a_pause_between_counts_lasts_until_the_former_one_is_old_at_most() -> None:
    assert [pause_after(took) for took in (0.0, 0.4, 5.0, 100.0)] == [5.0, 8.0, 20.0, 20.0]
