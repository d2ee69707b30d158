"""
Counts the queue by its subjects, without reading the records.

JetStream reports the number of messages on each subject. The subject of a waiting record ends in
its id, which has the arrival time, so the subjects also tell the age of each waiting record. Ready
records share subjects; for their age, the one stored first is read.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime

from postroad.mail.traffic import TrafficClass
from postroad.spool.backlog import Backlog, Counts, Tally
from postroad.spool.errors import RecordCorrupt, SpoolUnavailable
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.direct_get import page
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.streams.subjects import (
    ReadySubject,
    WaitingSubject,
    parse,
    stream_name,
)
from postroad.spool.lanes.keys import QueueStream
from postroad.spool.lanes.layout import Layout
from postroad.spool.selection import WaitKind
from postroad.spool.wire.record import decode

_FEW = 1000  # up to so many scheduled records of a shard, their subjects are listed


class Counting:
    """Counts by kind, class, pool and domain, over all shards."""

    def __init__(self, link: NatsLink, requests: Requests, layout: Layout) -> None:
        self._link = link
        self._requests = requests
        self._layout = layout

    async def counts(self) -> Counts:
        """Count records by kind, class (of ready ones) and destination domain."""
        counts: dict[tuple[WaitKind, TrafficClass | None, str], Tally] = {}
        for shard in range(self._layout.shards):
            found, _ = await self._counted(shard, f"pr.q.{shard}.>")
            for subject, number in _parsed(found):
                tally = Tally(number, _arrival(subject))
                key = _count_key(subject)
                counts[key] = counts[key].plus(tally) if key in counts else tally
        return counts

    async def backlog(self) -> Backlog:
        """
        Count ready records by pool and class, and scheduled and held ones.

        Each scheduled record has a subject of its own, so a long list is avoided: a record that is
        neither ready nor held is scheduled.
        """
        ready: dict[tuple[str, TrafficClass], int] = {}
        oldest: dict[WaitKind, datetime] = {}
        scheduled = held = 0
        for shard in range(self._layout.shards):
            found, records = await self._counted(shard, f"pr.q.{shard}.r.>")
            for subject, number in _parsed(found):
                if isinstance(subject, ReadySubject):
                    key = subject.pool, subject.traffic_class
                    ready[key] = ready.get(key, 0) + number
            waiting, _ = await self._counted(shard, f"pr.q.{shard}.h.>")
            held += sum(waiting.values())
            later = max(0, records - sum(found.values()) - sum(waiting.values()))
            scheduled += later
            arrivals = {
                WaitKind.READY: await self._first_arrival(shard, WaitKind.READY) if found else None,
                WaitKind.SCHEDULED: await self._first_scheduled(shard, later),
                WaitKind.HELD: _earliest(waiting),
            }
            for kind, arrival in arrivals.items():
                if arrival is not None:
                    oldest[kind] = min(arrival, oldest.get(kind, arrival))
        return Backlog(ready, scheduled, held, oldest)

    async def ready_pools(self) -> frozenset[str]:
        """Return the pools of ready records; subjects of waiting ones do not have the pool."""
        pools: set[str] = set()
        for shard in range(self._layout.shards):
            found, _ = await self._counted(shard, f"pr.q.{shard}.r.>")
            pools.update(
                subject.pool for subject, _ in _parsed(found) if isinstance(subject, ReadySubject)
            )
        return frozenset(pools)

    async def _first_scheduled(self, shard: int, number: int) -> datetime | None:
        """Return when the oldest arrived; if there are many, when the one stored first arrived."""
        if not number:
            return None
        if number > _FEW:
            return await self._first_arrival(shard, WaitKind.SCHEDULED)
        return _earliest((await self._counted(shard, f"pr.q.{shard}.s.>"))[0])

    async def _first_arrival(self, shard: int, kind: WaitKind) -> datetime | None:
        """Return the arrival of the record of a kind that was stored first."""
        subjects = f"pr.q.{shard}.{kind}.>"
        first = await page(
            self._link, stream_name(QueueStream.WAITING, shard), subjects, messages=1
        )
        for message in first.messages:
            try:
                return decode(message.data).arrival
            except RecordCorrupt:
                return message.stored_at
        return None

    async def _counted(self, shard: int, subjects: str) -> tuple[Mapping[str, int], int]:
        """Return the number of records of each subject, and of the shard."""
        return await count_subjects(
            self._requests, stream_name(QueueStream.WAITING, shard), subjects
        )


async def count_subjects(
    requests: Requests, stream: str, subjects: str
) -> tuple[Mapping[str, int], int]:
    """Return the number of messages of each subject, and of the stream."""
    found: dict[str, int] = {}
    while True:
        request = {"subjects_filter": subjects, "offset": len(found)}
        answer = await requests.send(f"$JS.API.STREAM.INFO.{stream}", json.dumps(request).encode())
        said = json.loads(answer.data)
        if "error" in said:
            raise SpoolUnavailable(f"no counts: {said['error'].get('description')}")
        told = said["state"].get("subjects") or {}
        found.update(told)
        if not told or len(found) >= int(said.get("total", 0)):
            return found, int(said["state"].get("messages", 0))


def _parsed(found: Mapping[str, int]) -> Iterator[tuple[ReadySubject | WaitingSubject, int]]:
    """
    Yield the subjects that records have.

    Who may publish mail may publish to a subject of another form. No record is there, and the
    figures of all others are told without it.
    """
    for subject, number in found.items():
        said = parse(subject)
        if said is not None:
            yield said, number


def _earliest(found: Mapping[str, int]) -> datetime | None:
    arrivals = (_arrival(subject) for subject, _ in _parsed(found))
    return min((arrival for arrival in arrivals if arrival is not None), default=None)


def _arrival(subject: ReadySubject | WaitingSubject) -> datetime | None:
    """Return the time in a waiting record's subject; None for other subjects."""
    return None if isinstance(subject, ReadySubject) else subject.arrival


def _count_key(
    subject: ReadySubject | WaitingSubject,
) -> tuple[WaitKind, TrafficClass | None, str]:
    if isinstance(subject, ReadySubject):
        return WaitKind.READY, subject.traffic_class, subject.domain
    return subject.kind, None, subject.domain
