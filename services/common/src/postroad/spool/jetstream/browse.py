"""
The queue browser: reads the queue without consuming it, and claims waiting records.

A listing reads each shard in pages of direct gets, filtered by kind, lane and domain as far as the
subjects allow. Memory is bounded by a page. A claim replaces a waiting record in one atomic step: a
publish with the expected sequence of the schedule's subject, which only one process can win.

The server's firing of schedules does not respect such claims: it copies all messages that are due,
then stores the copies one by one and purges their schedules, whatever happened to them meanwhile.
So no record is claimed that is due or nearly due. A server that is killed may have stored the
replacement without purging the schedule; `spool.jetstream.publish.succession` ends such a schedule.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from postroad.spool.backlog import Backlog, Counts
from postroad.spool.errors import ClaimLost, RecordCorrupt, SpoolUnavailable
from postroad.spool.ids import RecordId, shard_of
from postroad.spool.interface import CLAIM_TIMEOUT, Deferred, Held, Put, Queued
from postroad.spool.jetstream.counting import Counting
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.direct_get import (
    PAGE_MESSAGES,
    StoredMessage,
    last_on,
    pages,
)
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.new_mail import read_message
from postroad.spool.jetstream.publish.publisher import Publisher
from postroad.spool.jetstream.publish.succession import (
    REPLACES,
    Succession,
    expecting,
    former_of,
    replacing,
)
from postroad.spool.jetstream.streams.subjects import (
    SEVERAL,
    domain_token,
    stream_name,
    subject_of,
    waiting_subject,
)
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.lanes.lane import lane_of
from postroad.spool.lanes.layout import Layout
from postroad.spool.puts.accepted import kind_in_intake
from postroad.spool.selection import Selection, WaitKind
from postroad.spool.wire.record import decode
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

OVERDUE = timedelta(minutes=2)
_ANEW = timedelta(seconds=2)  # until a schedule that is stored again is due
_AT = "@at "


class JetStreamBrowser:
    """Implements interface.QueueBrowser."""

    def __init__(
        self, link: NatsLink, requests: Requests, publisher: Publisher, layout: Layout
    ) -> None:
        self._link = link
        self._counting = Counting(link, requests, layout)
        self._publisher = publisher
        self._succession = Succession(requests)
        self._layout = layout

    async def list(
        self, selection: Selection, *, at_once: int | None = None
    ) -> AsyncIterator[Queued]:
        """Yield the selected records, shard by shard, in pages."""
        for shard in self._shards(selection):
            for kind in sorted(selection.kinds):
                for stream, subject in _subjects(shard, kind, selection):
                    async for queued in self._found(
                        stream, shard, kind, subject, selection, at_once or PAGE_MESSAGES
                    ):
                        yield queued

    def _shards(self, selection: Selection) -> Sequence[int]:
        if selection.queue_id is None:
            return range(self._layout.shards)
        shard = shard_of(selection.queue_id)
        return [shard] if shard < self._layout.shards else []  # no message has such an id

    async def _found(
        self,
        stream: QueueStream,
        shard: int,
        kind: WaitKind,
        subject: str,
        selection: Selection,
        at_once: int,
    ) -> AsyncIterator[Queued]:
        name = stream_name(stream, shard)
        async for page in pages(self._link, name, subject, messages=at_once):
            for message in page.messages:
                for queued in _all_queued(kind, Key(stream, shard, message.sequence), message):
                    if selection.admits(queued.record, kind, _lane(kind, message.subject)):
                        yield queued

    async def deferred(self, record_id: RecordId, *, domain: str, lane: str) -> Queued | None:
        """Return the deferred record with this id in a lane; None when there is none."""
        kind, shard = WaitKind.DEFERRED, record_id.shard
        subject = waiting_subject(shard, kind, record_id, domain, lane)
        message = await last_on(self._link, stream_name(QueueStream.WAITING, shard), subject)
        if message is None:
            return None
        key = Key(QueueStream.WAITING, shard, message.sequence)
        return next(_all_queued(kind, key, message), None)

    async def counts(self) -> Counts:
        """Count records by kind, class (of ready ones) and destination domain."""
        return await self._counting.counts()

    async def backlog(self) -> Backlog:
        """Count ready records by pool and class, and deferred and held ones."""
        return await self._counting.backlog()

    async def ready_pools(self) -> frozenset[str]:
        """Return the pools of ready records."""
        return await self._counting.ready_pools()

    async def new_subjects(self, shard: int) -> Mapping[str, int]:
        """Return the number of records of each subject in a shard's intake."""
        return await self._counting.new_subjects(shard)

    async def claim(self, queued: Queued, puts: Sequence[Put], now: datetime) -> None:
        """Replace a waiting record by `puts`, exactly once."""
        if not puts:
            raise ValueError("a claim needs a put that replaces the record")
        if queued.is_coming:
            raise SpoolUnavailable("the record is not where it will wait yet")
        if not queued.may_be_claimed(now):
            raise ClaimLost("the record is ready, or about to become ready")
        if self._subject(puts[0], queued) == queued.subject:
            # Storing it replaces the schedule; a purge would remove both.
            headers = expecting(queued.subject, queued.key.sequence)
        else:
            headers = replacing(queued.subject, queued.key.sequence)
            headers |= {REPLACES: queued.key.token}
        if not await self._replace(queued, puts, headers):
            await self._succession.end_replaced(queued.key)

    async def remove(self, queued: Queued, now: datetime) -> None:
        """
        Remove a waiting record without a write, as full storage takes none. Raises as `claim` does.

        Unlike a claim this also removes what is overdue, which the server does not fire either
        while storage is full. If it does so at this moment, the order meets the ready record.
        """
        if queued.due is None or queued.is_coming:
            raise ClaimLost("the record does not wait")
        if not queued.may_be_claimed(now) and now - queued.due < OVERDUE:
            raise ClaimLost("the record is ready, or about to become ready")
        if queued.former is not None and await self._succession.is_there(queued.former):
            raise SpoolUnavailable("its earlier form is still there, and would be attempted")
        await self._succession.remove(queued.key)

    def _subject(self, put: Put, queued: Queued) -> str:
        lane = lane_of(put.record, self._layout.lanes)
        return subject_of(queued.key.shard, put, lane)

    async def _replace(
        self, queued: Queued, puts: Sequence[Put], headers: Mapping[str, str]
    ) -> bool:
        loop = asyncio.get_running_loop()
        began = loop.time()
        former = queued.former
        if former is not None and not await self._succession.is_there(former):
            former = None
        return await self._publisher.claim(
            puts,
            headers,
            timeout=CLAIM_TIMEOUT - timedelta(seconds=loop.time() - began),
            origin=queued.key,
            former=former,
        )

    async def renew_overdue(
        self,
        lanes: Collection[str],
        since: datetime,
        clock: Callable[[], datetime],
        *,
        pause: timedelta,
    ) -> int:
        """
        Store overdue schedules again, and return how many there were.

        The server does not fire a schedule that came due while storage was full, until it restarts.
        Such a record is not claimed, because the server may be firing it after all. A schedule that
        is stored again is safe: the server purges the new form together with the old one. In a
        replicated stream that is true only for copies that it has not proposed yet. So the server
        gets the time `OVERDUE`, counted from the due time and from `since`, when it was back.

        This reads all waiting records, with a `pause` after each page, so that a long queue does
        not slow down other mail.
        """
        renewed = looked = 0
        kinds = frozenset({WaitKind.DEFERRED, WaitKind.HELD})
        async for queued in self.list(Selection(kinds=kinds, lanes=frozenset(lanes))):
            looked += 1
            if looked % PAGE_MESSAGES == 0:
                await asyncio.sleep(pause.total_seconds())
            now = clock()
            if queued.due is None or queued.is_coming or now - max(queued.due, since) < OVERDUE:
                continue
            try:
                await self._renew(queued, now + _ANEW)
                renewed += 1
            except ClaimLost:
                break  # it has fired meanwhile, so the server is firing again
        if renewed:
            log.warning("overdue mail was given a new time", count=renewed)
        return renewed

    async def _renew(self, queued: Queued, due: datetime) -> None:
        place = Held(due) if queued.kind is WaitKind.HELD else Deferred(due)
        await self._replace(
            queued, [Put(queued.record, place)], expecting(queued.subject, queued.key.sequence)
        )


def _subjects(
    shard: int, kind: WaitKind, selection: Selection
) -> Iterator[tuple[QueueStream, str]]:
    """Yield where records of a kind are that may be selected: the intake first."""
    domain = domain_token(selection.domain) if selection.domain else "*"
    lanes = sorted(selection.lanes) if selection.lanes is not None else ["*"]
    for lane in lanes:
        if kind is WaitKind.READY:  # also in packs
            for named in ["*"] if domain == "*" else [domain, SEVERAL]:
                yield QueueStream.INTAKE, f"pr.i.{shard}.*.*.*.{lane}.{named}"
        else:
            yield QueueStream.INTAKE, f"pr.i.{shard}.{kind}.*.*.{lane}.{domain}"
            yield QueueStream.WAITING, f"pr.q.{shard}.{kind}.{lane}.{domain}.*"
            continue
        for end in [">"] if domain == "*" else [domain, f"{domain}.*"]:
            yield QueueStream.WAITING, f"pr.q.{shard}.r.*.*.{lane}.{end}"


def _all_queued(kind: WaitKind, key: Key, message: StoredMessage) -> Iterator[Queued]:
    """Yield the records of a message that are of a kind; tell of those that cannot be read."""
    try:
        if key.stream is QueueStream.INTAKE:
            yield from _new(kind, key, message)
        elif message.data:  # else it is no record, see Succession.end_replaced
            yield _waiting(kind, key, message)
    except RecordCorrupt as error:
        log.error("a record cannot be read", subject=message.subject, error=str(error))


def _new(kind: WaitKind, key: Key, message: StoredMessage) -> Iterator[Queued]:
    # What its headers say is the word of who accepted it, and means nothing.
    subject, stored = message.subject, message.stored_at.astimezone(UTC)
    for one, _, record in read_message(message.data, subject, key, stored):
        if isinstance(record, RecordCorrupt):
            log.error("a record cannot be read", subject=subject, error=str(record))
        elif kind_in_intake(record) is kind:
            yield Queued(record, kind, record.waits_until, one, subject, stored)


def _waiting(kind: WaitKind, key: Key, message: StoredMessage) -> Queued:
    record, headers = decode(message.data), message.headers
    schedule = headers.get("Nats-Schedule", "")
    due = None
    if kind is not WaitKind.READY and schedule.startswith(_AT):
        due = datetime.fromisoformat(schedule.removeprefix(_AT)).astimezone(UTC)
    former = former_of(key.shard, headers)
    stored = message.stored_at.astimezone(UTC)
    return Queued(record, kind, due, key, message.subject, stored, former)


def _lane(kind: WaitKind, subject: str) -> str:
    tokens = subject.split(".")
    return tokens[6] if kind is WaitKind.READY or tokens[1] == QueueStream.INTAKE else tokens[4]
