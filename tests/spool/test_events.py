"""Events: when they are written, and how many are kept that cannot be written."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.event import Event, EventType
from postroad.spool.jetstream.cluster import event_log
from postroad.spool.jetstream.cluster.event_log import JetStreamEvents
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.testing.patience import patient


class Takes:
    """A queue that takes all events; `written` is set with the first."""

    def __init__(self) -> None:
        self.written = asyncio.Event()
        self.client = SimpleNamespace(max_payload=1024 * 1024)
        self.jetstream = SimpleNamespace(publish=self._publish)

    async def _publish(self, *_: object, **__: object) -> None:
        self.written.set()


def happened() -> Event:
    return Event(type=EventType.DELIVERY, at=datetime.now(UTC), recipients=("a@b.example",))


async def test_what_nothing_else_tells_is_written_before_what_can_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_log, "_WAITS_AT_MOST", timedelta(hours=1))
    queue = Takes()
    events = JetStreamEvents(cast(Link, queue))
    events.add(happened())
    await asyncio.sleep(0)
    assert not queue.written.is_set()
    events.add(happened(), at_once=True)
    async with asyncio.timeout(patient(5)):
        await queue.written.wait()
    await events.close()


async def test_what_was_added_is_waited_for_until_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_log, "_WAITS_AT_MOST", timedelta(hours=1))
    queue = Takes()
    events = JetStreamEvents(cast(Link, queue))
    await events.written()  # there is nothing to wait for
    events.add(happened())
    await events.written()
    assert queue.written.is_set()
    await events.close()


async def test_a_history_that_cannot_be_written_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_log, "_WRITTEN_WITHIN", timedelta(seconds=0.1))
    monkeypatch.setattr(event_log, "_CLOSING", timedelta(seconds=0.1))
    events = JetStreamEvents(cast(Link, Away()))
    events.add(happened())
    with pytest.raises(SpoolUnavailable):
        await events.written()
    await events.close()


class Away:
    """A queue that does not answer."""

    def __init__(self) -> None:
        self.client = SimpleNamespace(max_payload=1024 * 1024)
        self.jetstream = SimpleNamespace(publish=self._publish)

    async def _publish(self, *_: object, **__: object) -> None:
        raise ConnectionError("away")


async def test_events_that_name_many_recipients_are_kept_by_their_number() -> None:
    """Takes 3 s, which closing waits for the queue."""
    events = JetStreamEvents(cast(Link, Away()))
    named = Event(
        type=EventType.REJECTION, at=datetime.now(UTC), recipients=("a@b.example",) * 1000
    )
    for _ in range(60):
        events.add(named)
    assert events.dropped == 10
    await events.close()
    assert events.dropped == 60
