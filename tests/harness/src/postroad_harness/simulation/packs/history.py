"""
The history of mail: written a little late, and lost with its process until then.

It tells which records of a pack have ended when the pack comes again.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from postroad.spool.agreement import Events
from postroad.spool.event import Event
from postroad.spool.jetstream.cluster.ended import ENDS, without_ended
from postroad.spool.record import QueueRecord, RecipientState

_WRITTEN_AFTER, _AT_ONCE = 0.1, 0.01  # seconds


class History:
    """What one process writes; `on_ended` is told of each record whose end is written."""

    def __init__(self, events: Events, on_ended: Callable[[str], None]) -> None:
        self._events = events
        self._on_ended = on_ended

    def add(self, event: Event, *, at_once: bool = False) -> None:
        """Write an event soon, unless the process dies before."""
        after = _AT_ONCE if at_once else _WRITTEN_AFTER
        asyncio.get_running_loop().call_later(after, self._write, event)

    def _write(self, event: Event) -> None:
        self._events.add(event)
        if event.type in ENDS:
            self._on_ended(event.record_id)


class EndedBefore:
    """What the history says of a pack that comes again."""

    def __init__(self, events: Events) -> None:
        self._events = events

    async def left_of(
        self, records: Sequence[QueueRecord], _: datetime
    ) -> list[QueueRecord | None]:
        """Return what is left of each record, None if nothing is."""
        await asyncio.sleep(_WRITTEN_AFTER)  # until this process has written its part
        ended: dict[str, dict[str, RecipientState]] = {}
        async for event in self._events.read(types=frozenset(ENDS)):
            told = ended.setdefault(event.record_id, {})
            told.update(dict.fromkeys(event.recipients, ENDS[event.type]))
        return [without_ended(each, ended.get(str(each.record_id), {})) for each in records]
