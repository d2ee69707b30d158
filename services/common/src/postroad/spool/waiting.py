"""
Looking at the queue without consuming it, and claiming what waits.

Listings page through each shard by direct gets, narrowed by kind, lane and domain as far as the
subjects allow; memory is a page, whatever the queue's length. A claim replaces a waiting record in
one atomic step: publishing with the schedule's own subject and its expected sequence, which only
one claimant, or the schedule itself, can win.
"""

import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from postroad.mail.traffic import TrafficClass
from postroad.spool.codec import decode
from postroad.spool.connection import NatsLink
from postroad.spool.direct_get import StoredMessage, pages
from postroad.spool.errors import ClaimLost, RecordCorrupt, SpoolUnavailable
from postroad.spool.ids import shard_of
from postroad.spool.interface import Backlog, Put, Queued, Ready, Selection, WaitKind
from postroad.spool.layout import Layout
from postroad.spool.log import get_logger
from postroad.spool.publisher import Publisher
from postroad.spool.requests import Requests
from postroad.spool.subjects import domain_of, domain_token, queue_stream

log = get_logger("spool.waiting")

Counts = Mapping[tuple[WaitKind, TrafficClass | None, str], int]

OVERDUE = timedelta(seconds=30)
_CLAIM_TIMEOUT = timedelta(seconds=10)
_AT = "@at "


class JetStreamWaiting:
    """Implements interface.Waiting."""

    def __init__(
        self, link: NatsLink, requests: Requests, publisher: Publisher, layout: Layout
    ) -> None:
        self._link = link
        self._requests = requests
        self._publisher = publisher
        self._layout = layout

    async def list(self, selection: Selection) -> AsyncIterator[Queued]:
        """Yield what fits, shard by shard, in pages."""
        for shard in self._shards(selection):
            for kind in sorted(selection.kinds):
                for subject in self._subjects(shard, kind, selection):
                    async for queued in self._found(shard, kind, subject, selection):
                        yield queued

    def _shards(self, selection: Selection) -> Sequence[int]:
        if selection.queue_id is not None:
            return [shard_of(selection.queue_id)]
        return range(self._layout.shards)

    def _subjects(self, shard: int, kind: WaitKind, selection: Selection) -> Sequence[str]:
        domain = domain_token(selection.domain) if selection.domain else "*"
        lanes = sorted(selection.lanes) if selection.lanes is not None else ["*"]
        if kind is WaitKind.READY:
            return [f"pr.q.{shard}.r.*.*.{lane}.{domain}" for lane in lanes]
        return [f"pr.q.{shard}.{kind}.{lane}.{domain}.*" for lane in lanes]

    async def _found(
        self, shard: int, kind: WaitKind, subject: str, selection: Selection
    ) -> AsyncIterator[Queued]:
        async for page in pages(self._link, queue_stream(shard), subject):
            for message in page.messages:
                queued = _queued(kind, message)
                if queued is not None and selection.admits(
                    queued.record, kind, _lane(kind, message.subject)
                ):
                    yield queued

    async def counts(self) -> Counts:
        """Count records by kind, class (of ready ones) and destination domain."""
        counts: dict[tuple[WaitKind, TrafficClass | None, str], int] = {}
        for shard in range(self._layout.shards):
            for subject, number in (await self._subject_counts(shard)).items():
                key = _count_key(subject)
                counts[key] = counts.get(key, 0) + number
        return counts

    async def backlog(self) -> Backlog:
        """
        Count ready records by pool and class, and those that wait.

        Each waiting record is a subject of its own, so those are not listed: what is neither ready
        nor held is scheduled.
        """
        ready: dict[tuple[str, TrafficClass], int] = {}
        scheduled = held = 0
        for shard in range(self._layout.shards):
            found, records = await self._counted(shard, f"pr.q.{shard}.r.>")
            for subject, number in found.items():
                tokens = subject.split(".")
                key = domain_of(tokens[4]), TrafficClass(tokens[5])
                ready[key] = ready.get(key, 0) + number
            waiting, _ = await self._counted(shard, f"pr.q.{shard}.h.>")
            held += sum(waiting.values())
            scheduled += max(0, records - sum(found.values()) - sum(waiting.values()))
        return Backlog(ready, scheduled, held)

    async def _subject_counts(self, shard: int) -> Mapping[str, int]:
        """Return how many records each subject of a shard has."""
        found, _ = await self._counted(shard, f"pr.q.{shard}.>")
        return found

    async def _counted(self, shard: int, subjects: str) -> tuple[Mapping[str, int], int]:
        """Return the records of each subject, and of the shard; the server answers in pages."""
        found: dict[str, int] = {}
        while True:
            request = {"subjects_filter": subjects, "offset": len(found)}
            answer = await self._requests.send(
                f"$JS.API.STREAM.INFO.{queue_stream(shard)}", json.dumps(request).encode()
            )
            said = json.loads(answer.data)
            if "error" in said:
                raise SpoolUnavailable(f"no counts: {said['error'].get('description')}")
            page = said["state"].get("subjects") or {}
            found.update(page)
            if not page or len(found) >= int(said.get("total", 0)):
                return found, int(said["state"].get("messages", 0))

    async def claim(self, queued: Queued, puts: Sequence[Put]) -> None:
        """Replace a waiting record by `puts`, at once and only once."""
        if not puts:
            raise ValueError("a claim puts something in the record's place")
        if queued.kind is WaitKind.READY:
            raise ClaimLost("the record does not wait")
        headers = {
            "Nats-Scheduler": queued.subject,
            "Nats-Schedule-Next": "purge",
            "Nats-Expected-Last-Subject-Sequence": str(queued.sequence),
            "Nats-Expected-Last-Subject-Sequence-Subject": queued.subject,
        }
        shard = queued.record.record_id.shard
        await self._publisher.publish(puts, shard=shard, timeout=_CLAIM_TIMEOUT, claim=headers)

    async def claim_overdue(self, lanes: Collection[str], now: datetime) -> int:
        """
        Make ready what should have become so by itself; return how many records that were.

        A schedule that came due while storage was full is not fired before the server restarts.
        """
        if not lanes:
            return 0
        claimed = 0
        kinds = frozenset({WaitKind.SCHEDULED, WaitKind.HELD})
        async for queued in self.list(Selection(kinds=kinds, lanes=frozenset(lanes))):
            if queued.due is None or now - queued.due < OVERDUE:
                continue
            try:
                await self.claim(queued, [Put(queued.record.next_step(), Ready())])
                claimed += 1
            except ClaimLost:
                continue  # fired, or claimed by another, meanwhile
        if claimed:
            log.warning("overdue mail was made ready", count=claimed)
        return claimed


def _queued(kind: WaitKind, message: StoredMessage) -> Queued | None:
    try:
        record = decode(message.data)
    except RecordCorrupt as error:
        log.error("a record cannot be read", subject=message.subject, error=str(error))
        return None
    schedule = message.headers.get("Nats-Schedule", "")
    due = None
    if kind is not WaitKind.READY and schedule.startswith(_AT):
        due = datetime.fromisoformat(schedule.removeprefix(_AT)).astimezone(UTC)
    return Queued(record, kind, due, message.sequence, message.subject)


def _lane(kind: WaitKind, subject: str) -> str:
    tokens = subject.split(".")
    return tokens[6] if kind is WaitKind.READY else tokens[4]


def _count_key(subject: str) -> tuple[WaitKind, TrafficClass | None, str]:
    tokens = subject.split(".")
    kind = WaitKind(tokens[3])
    if kind is WaitKind.READY:
        return kind, TrafficClass(tokens[5]), domain_of(tokens[7])
    return kind, None, domain_of(tokens[5])
