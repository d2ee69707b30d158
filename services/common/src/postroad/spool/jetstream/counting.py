"""
Counts the queue by its subjects, without reading the records.

JetStream reports the number of messages on each subject. The subject of a waiting record ends in
its id, which has the arrival time, so the subjects also tell the age of each waiting record. Ready
records share subjects; for their age, the one stored first is read.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from postroad.mail.traffic import TrafficClass
from postroad.spool.backlog import Backlog, Counts, Tally
from postroad.spool.errors import RecordCorrupt, SpoolUnavailable
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.direct_get import page
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.new_mail import records_in
from postroad.spool.jetstream.streams.subjects import (
    ReadySubject,
    WaitingSubject,
    parse,
    pool_of,
    stream_name,
)
from postroad.spool.lanes.keys import QueueStream
from postroad.spool.lanes.layout import Layout
from postroad.spool.selection import WaitKind
from postroad.spool.wire.record import decode

_FEW = 1000  # up to so many deferred records of a shard, their subjects are listed


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
            for subject, number in _parsed(await self._all(shard)):
                tally = Tally(number, _arrival(subject))
                key = _count_key(subject)
                counts[key] = counts[key].plus(tally) if key in counts else tally
        return counts

    async def _all(self, shard: int) -> Mapping[str, int]:
        """Return the number of records of each subject of a shard."""
        found: dict[str, int] = {}
        for stream in QueueStream:
            found.update((await self._counted(stream, shard, f"pr.{stream}.{shard}.>"))[0])
        return found

    async def backlog(self) -> Backlog:
        """
        Count ready records by pool and class, and deferred and held ones.

        Each deferred record has a subject of its own, so a long list is avoided: a record that is
        neither ready nor held is deferred.
        """
        ready: dict[tuple[str, TrafficClass], int] = {}
        numbers: dict[WaitKind, int] = dict.fromkeys(WaitKind, 0)
        oldest: dict[WaitKind, datetime] = {}
        for shard in range(self._layout.shards):
            new, _ = await self._counted(QueueStream.INTAKE, shard, f"pr.i.{shard}.>")
            again, records = await self._counted(QueueStream.WAITING, shard, f"pr.q.{shard}.r.>")
            held, _ = await self._counted(QueueStream.WAITING, shard, f"pr.q.{shard}.h.>")
            for subject, number in (*_parsed(new), *_parsed(again), *_parsed(held)):
                if isinstance(subject, ReadySubject):
                    key = subject.pool, subject.traffic_class
                    ready[key] = ready.get(key, 0) + number
                else:
                    numbers[subject.kind] += number
            later = max(0, records - sum(again.values()) - sum(held.values()))
            deferred, first_deferred = await self._deferred(shard, later)
            numbers[WaitKind.DEFERRED] += deferred
            found = [(WaitKind.DEFERRED, first_deferred), (WaitKind.HELD, _earliest(held))]
            for stream, subjects in ((QueueStream.INTAKE, new), (QueueStream.WAITING, again)):
                first = await self._first(stream, shard, WaitKind.READY) if subjects else None
                found.append((WaitKind.READY, first))
            for kind, arrival in found:
                if arrival is not None:
                    oldest[kind] = min(arrival, oldest.get(kind, arrival))
        return Backlog(ready, numbers[WaitKind.DEFERRED], numbers[WaitKind.HELD], oldest)

    async def ready_pools(self) -> frozenset[str]:
        """Return the pools of ready and new records; subjects of waiting ones do not have it."""
        pools: set[str] = set()
        for shard in range(self._layout.shards):
            new, _ = await self._counted(QueueStream.INTAKE, shard, f"pr.i.{shard}.>")
            again, _ = await self._counted(QueueStream.WAITING, shard, f"pr.q.{shard}.r.>")
            pools.update(filter(None, map(pool_of, (*new, *again))))
        return frozenset(pools)

    async def new_subjects(self, shard: int) -> Mapping[str, int]:
        """Return the number of records of each subject in a shard's intake."""
        return (await self._counted(QueueStream.INTAKE, shard, f"pr.i.{shard}.>"))[0]

    async def _deferred(self, shard: int, number: int) -> tuple[int, datetime | None]:
        """
        Return how many records are deferred, out of `number`, and when the oldest arrived.

        If there are many, some of them may be none, and the one stored first is taken for the
        oldest.
        """
        if not number:
            return 0, None
        if number > _FEW:
            return number, await self._first(QueueStream.WAITING, shard, WaitKind.DEFERRED)
        found, _ = await self._counted(QueueStream.WAITING, shard, f"pr.q.{shard}.s.>")
        return sum(each for _, each in _parsed(found)), _earliest(found)

    async def _first(self, stream: QueueStream, shard: int, kind: WaitKind) -> datetime | None:
        """Return the arrival of the record of a kind that was stored first."""
        subjects = f"pr.{stream}.{shard}.{kind}.>"
        if stream is QueueStream.INTAKE:
            subjects = f"pr.{stream}.{shard}.>"  # what is to wait is moved from there at once
        first = await page(self._link, stream_name(stream, shard), subjects, messages=1)
        for message in first.messages:
            try:
                return decode(records_in(message.subject, message.data)[0]).arrival
            except RecordCorrupt:
                return message.stored_at
        return None

    async def _counted(
        self, stream: QueueStream, shard: int, subjects: str
    ) -> tuple[Mapping[str, int], int]:
        """Return the number of records of each subject, and of the stream."""
        return await count_subjects(self._requests, stream_name(stream, shard), subjects)


async def count_subjects(
    requests: Requests, stream: str, subjects: str
) -> tuple[Mapping[str, int], int]:
    """Return the number of messages of each subject, and of the stream."""
    found: dict[str, int] = {}
    while True:
        request = {"subjects_filter": subjects, "offset": len(found)}
        said = await requests.ask_api(f"STREAM.INFO.{stream}", request)
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
            yield said, number * said.records if isinstance(said, ReadySubject) else number


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
