"""
The history of mail on the stream `POSTROAD_EVENTS`: written in batches, read in pages.

Events are written after 100 ms, or when 64 are waiting; those that tell what has ended of an open
pack, after 10 ms. Then one message for each type is published, so that a reader of one type
receives only that. A round of messages must be acknowledged before the next one, so events keep
their order, and rounds grow with the load. While the queue is unavailable, a round is repeated with
the same message ids, and events wait up to a limit; beyond it they are dropped and counted. Mail
never waits for events, except in a pack that comes again (`ended_in_packs`).
"""

import asyncio
import random
import secrets
from collections import deque
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import nats.errors
import nats.js.errors

from postroad.process.background.backoff import Backoff
from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.errors import RecordCorrupt, SpoolUnavailable
from postroad.spool.event import Event, EventType, HistoryPosition
from postroad.spool.jetstream.nats import direct_get
from postroad.spool.jetstream.nats.direct_get import Link, StoredMessage
from postroad.spool.metrics import EVENTS_DROPPED, INTERNAL_ERRORS
from postroad.spool.wire.event import decode_events, encode_events
from postroad.telemetry.logs import get_logger

STREAM = "POSTROAD_EVENTS"
SUBJECT = "pr.e."

_WAITS_AT_MOST = timedelta(milliseconds=100)
_AT_ONCE = timedelta(milliseconds=10)
_TOGETHER = 64
_ROUND = 1024  # events in one round of messages, some 300 KB
_HELD_AT_MOST = 20_000  # some 10 MB, while the queue is unavailable
_RECIPIENTS_AT_MOST = (
    50_000  # in all waiting events: some 5 MB, or 25 MB with the longest addresses
)
_PAYLOAD = 512 * 1024
_HEADROOM = 4096  # headers count towards the size limit of a message
_PUBLISH_TIMEOUT = timedelta(seconds=2)
_RETRY_WAIT = timedelta(milliseconds=250)
_CLOSING = timedelta(seconds=3)
_WRITTEN_WITHIN = timedelta(seconds=3)

_LOOKS_EVERY = timedelta(milliseconds=200)
_BACKOFF = Backoff(timedelta(seconds=0.5), timedelta(seconds=5))  # of a reader that follows
_PATIENCE = timedelta(seconds=10)  # of such a reader; then its servers may be somewhere else
# Batches of different processes are stored up to 100 ms late and in any order. So the last events
# of a page are sorted together with the next page. Clocks differ, so a reader begins a minute
# earlier.
_SETTLES_WITHIN = timedelta(seconds=1)
_CLOCKS_DIFFER = timedelta(minutes=1)

log = get_logger(__name__)


class JetStreamEvents:
    """Implements agreement.Events; `dropped` counts events that were not written."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting: deque[Event] = deque()
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._tasks = BackgroundTasks(INTERNAL_ERRORS)
        self._closed = False
        self._recipients = 0  # in the waiting events
        self._added = self._ended = 0  # events so far, and those of them that do not wait any more
        self._progress = asyncio.Event()
        self.dropped = 0

    def add(self, event: Event, *, at_once: bool = False) -> None:
        """
        Write an event soon; never waits or fails; counts events that it drops.

        With `at_once` it is written in ten milliseconds, as nothing else tells what it says.
        """
        full = len(self._waiting) >= _HELD_AT_MOST or self._recipients >= _RECIPIENTS_AT_MOST
        if self._closed or full:
            self._drop(1, "too many wait")
            return
        self._waiting.append(event)
        self._added += 1
        self._recipients += len(event.recipients)
        if self._writing is None:
            self._writing = self._tasks.keep(self._write)
        if len(self._waiting) >= _TOGETHER:
            self._due.set()
        else:
            self._set_timer(_AT_ONCE if at_once else _WAITS_AT_MOST)

    def _set_timer(self, within: timedelta) -> None:
        loop = asyncio.get_running_loop()
        when = loop.time() + within.total_seconds()
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = loop.call_at(when, self._due.set)

    async def written(self) -> None:
        """Wait until the events so far are written; SpoolUnavailable after some seconds."""
        last = self._added
        if self._waiting:
            self._due.set()
        try:
            async with asyncio.timeout(_WRITTEN_WITHIN.total_seconds()):
                while self._ended < last:
                    await self._progress.wait()
        except TimeoutError:
            raise SpoolUnavailable("the history cannot be written") from None

    async def close(self) -> None:
        """Write the waiting events, for three seconds at most, and count those that remain."""
        self._closed = True
        self._due.set()
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=_CLOSING.total_seconds())
            await self._tasks.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._waiting:
            self._drop(len(self._waiting), "the process ends")
            self._waiting.clear()

    async def read(
        self,
        *,
        since: datetime | None = None,
        types: frozenset[EventType] | None = None,
        follow: bool = False,
        position: HistoryPosition | None = None,
    ) -> AsyncIterator[Event]:
        """
        Yield stored events in order of time; with `follow`, go on with new ones.

        With a `position` that an earlier reader has left, go on from there. Raises
        SpoolUnavailable, with `follow` after ten seconds.
        """
        subject = f"{SUBJECT}{next(iter(types))}" if types and len(types) == 1 else f"{SUBJECT}>"
        start = since - _CLOCKS_DIFFER if since else None
        position = position or HistoryPosition()
        unsettled = position.unsettled
        while True:
            found = await self._page(subject, after=position.after, since=start, patient=follow)
            for message in found.messages:
                position.after = message.sequence
                unsettled += _wanted(message, since, types)
            unsettled.sort(key=lambda event: event.at)
            count = _settled(unsettled) if found.pending else len(unsettled)
            settled = unsettled[:count]
            del unsettled[:count]
            for event in settled:
                yield event
            if not found.pending:
                if not follow:
                    return
                await asyncio.sleep(_LOOKS_EVERY.total_seconds())

    async def _page(
        self, subject: str, *, after: int, since: datetime | None, patient: bool
    ) -> direct_get.Page:
        failures = 0
        loop = asyncio.get_running_loop()
        until = loop.time() + (_PATIENCE.total_seconds() if patient else 0)
        while True:
            try:
                return await direct_get.page(self._link, STREAM, subject, after=after, since=since)
            except SpoolUnavailable:
                if loop.time() >= until:
                    raise
            failures += 1
            await asyncio.sleep(_BACKOFF.seconds(failures, random))

    # ------------------------------------------------------------ writing

    async def _write(self) -> None:
        while not self._closed or self._waiting:
            await self._due.wait()
            self._due.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            count = min(len(self._waiting), _ROUND)
            together = [self._waiting.popleft() for _ in range(count)]
            named = sum(len(event.recipients) for event in together)
            self._recipients -= named
            if self._waiting or self._closed:
                self._due.set()
            try:
                await self._write_round(together)
            except asyncio.CancelledError:
                self._waiting.extendleft(reversed(together))
                self._recipients += named
                raise
            except Exception:
                self._drop(len(together), "they cannot be written")
                self._end(len(together))
                raise
            self._end(len(together))

    def _end(self, count: int) -> None:
        self._ended += count
        self._progress.set()
        self._progress = asyncio.Event()

    async def _write_round(self, events: Sequence[Event]) -> None:
        """Publish one message for each type; repeat those that are not acknowledged."""
        by_type: dict[EventType, list[Event]] = {}
        for event in events:
            by_type.setdefault(event.type, []).append(event)
        left = [
            (f"{SUBJECT}{kind}", payload, {"Nats-Msg-Id": secrets.token_hex(12)})
            for kind, alike in by_type.items()
            for payload in self._payloads(alike)
        ]
        while left:
            results = await asyncio.gather(*(self._publish(*message) for message in left))
            left = [message for message, kept in zip(left, results, strict=True) if not kept]
            if left:
                await asyncio.sleep(_RETRY_WAIT.total_seconds())

    async def _publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> bool:
        try:
            await self._link.jetstream.publish(
                subject, payload, headers=headers, timeout=_PUBLISH_TIMEOUT.total_seconds()
            )
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError) as error:
            log.debug("events are not written", error=str(error))
            return False
        return True

    def _payloads(self, events: Sequence[Event]) -> list[bytes]:
        """Return the events as payloads; a batch that is too large is halved."""
        payload = encode_events(events)
        if len(payload) <= min(_PAYLOAD, self._link.client.max_payload - _HEADROOM):
            return [payload]
        if len(events) == 1:
            self._drop(1, "it is larger than a message may be")
            return []
        middle = len(events) // 2
        return self._payloads(events[:middle]) + self._payloads(events[middle:])

    def _drop(self, count: int, reason: str) -> None:
        # One line for each thousand, because other things fail already when this happens.
        if self.dropped // 1000 != (self.dropped + count) // 1000 or not self.dropped:
            log.warning("events are dropped", count=self.dropped + count, reason=reason)
        self.dropped += count
        EVENTS_DROPPED.inc(count)


def _wanted(
    message: StoredMessage, since: datetime | None, types: frozenset[EventType] | None
) -> list[Event]:
    kind = message.subject.removeprefix(SUBJECT)
    if types and kind not in types:
        return []
    try:
        events = list(decode_events(message.data))
    except RecordCorrupt as error:
        log.warning("stored events are left out", subject=message.subject, error=str(error))
        return []
    # The servers let each role write some types of events only, by the subject.
    return [each for each in events if each.type == kind and (since is None or each.at >= since)]


def _settled(events: Sequence[Event]) -> int:
    """Return how many of these sorted events come before all events that are stored later."""
    if not events:
        return 0
    latest = events[-1].at - _SETTLES_WITHIN
    return sum(event.at <= latest for event in events)
