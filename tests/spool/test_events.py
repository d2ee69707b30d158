"""Events that cannot be written: a bounded number is kept."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

from postroad.spool.event import Event, EventType
from postroad.spool.jetstream.cluster.event_log import JetStreamEvents
from postroad.spool.jetstream.nats.direct_get import Link


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
