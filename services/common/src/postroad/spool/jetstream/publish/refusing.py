"""
Tells which streams take no records, and keeps new mail away from their shards.

What this process finds is told in its session, so every other process knows it within seconds, too:
who accepts mail publishes to the intake alone, and cannot know of the other stream. A shard of
which any stream refuses gets no new mail, unless all of them do. Only one message now and then goes
there, from a process that found the intake refusing itself: nothing else tells that it is well
again.
"""

import asyncio
import random
from collections.abc import Callable, Sequence

from postroad.spool.agreement import SessionInfo
from postroad.spool.errors import SpoolError
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.publish.refusals import Refusals, kind_of
from postroad.spool.jetstream.streams.subjects import named_stream, stream_of
from postroad.spool.jetstream.timings import Timings
from postroad.spool.lanes.keys import QueueStream
from postroad.spool.metrics import PUBLISH_FAILURES, STREAM_REFUSES
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_DRAWN_FOR = 0.25  # seconds


class RefusingStreams:
    """
    The streams that refuse, as this process has found them.

    `alive` says whether the queue answers otherwise; `seen` returns the sessions of all processes.
    """

    def __init__(
        self,
        link: NatsLink,
        timings: Timings,
        *,
        shards: int,
        alive: Callable[[], bool],
        seen: Callable[[], Sequence[SessionInfo]],
    ) -> None:
        self._link = link
        self._refusals = Refusals(after=timings.refusing)
        self._probe_after = timings.refusing_tried_again.total_seconds()
        self._probed: dict[int, float] = {}
        self._shards = shards
        self._alive = alive
        self._seen = seen
        self._found: tuple[tuple[str, str], ...] = ()
        self._avoided: frozenset[int] = frozenset()
        self._drawn, self._drawn_until = 0, 0.0  # the shard of mail that is stored together
        link.on_reconnect(self._refusals.forget)

    def failed(self, subject: str, error: SpoolError) -> None:
        """Note a failed try to publish records."""
        if not self._link.connected:
            return  # it never reached a stream
        stream = stream_of(subject)
        PUBLISH_FAILURES.labels(stream, kind_of(error)).inc()
        self._refusals.failed(stream, error, asyncio.get_running_loop().time())

    def stored(self, subject: str) -> None:
        """Note that records were stored."""
        self._refusals.stored(stream_of(subject), asyncio.get_running_loop().time())

    def look(self) -> tuple[tuple[str, str], ...]:
        """Return the streams that refuse now, and why; log what has changed."""
        if not (self._link.connected and self._alive()):
            self._refusals.forget()
        found = self._refusals.found(asyncio.get_running_loop().time())
        before = {stream for stream, _ in self._found}
        for stream in found.keys() - before:
            log.error("a stream of the queue refuses writes", stream=stream, error=found[stream])
            STREAM_REFUSES.labels(stream).set(1)
        for stream in before - found.keys():
            log.info("a stream of the queue is not known to refuse writes any more", stream=stream)
            STREAM_REFUSES.labels(stream).set(0)
        self._found = tuple(found.items())
        told = [*self._found, *(each for info in self._seen() for each in info.refusing)]
        self._avoided = frozenset(named_stream(stream)[1] for stream, _ in told)
        return self._found

    def shard_for_new_mail(self, *, together: bool = False) -> int:
        """
        Return a random shard that takes records as far as is known, or one to try again.

        With `together` mail of the same moment gets the same one, so that it is stored together.
        """
        probe = self._to_probe() if self._found else None
        if probe is not None:
            return probe
        if not together:
            return self._another(set())
        now = asyncio.get_running_loop().time()
        if now >= self._drawn_until or self._drawn in self._avoided:
            self._drawn, self._drawn_until = self._another(set()), now + _DRAWN_FOR
        return self._drawn

    def another_shard(self, shard: int) -> int:
        """Return a shard for mail that this one has refused."""
        return self._another({shard}) if self._shards > 1 else shard

    def _another(self, refused: set[int]) -> int:
        avoided = refused | self._avoided
        if not avoided:  # as usual
            return int(random.random() * self._shards)
        good = [shard for shard in range(self._shards) if shard not in avoided]
        rest = [shard for shard in range(self._shards) if shard not in refused]
        return random.choice(good or rest)

    def _to_probe(self) -> int | None:
        """Return a shard whose intake it is time to try again, None if there is none."""
        now = asyncio.get_running_loop().time()
        for stream, _ in self._found:
            kind, shard = named_stream(stream)
            if kind is not QueueStream.INTAKE:
                continue
            tried = max(self._probed.get(shard, float("-inf")), self._refusals.tried(stream))
            if now - tried >= self._probe_after:
                self._probed[shard] = now
                return shard
        return None
