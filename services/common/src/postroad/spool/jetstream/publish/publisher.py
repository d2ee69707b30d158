"""
Stores records in the queue's streams: durable on return, and stored once even with retries.

One record is a plain publish; several are one atomic batch, so a message is never half accepted. A
publish without an answer is repeated with the same message id, which the stream recognises. It is
repeated for a minute at most, well within the duplicate window. A record that is too large for the
server is not tried: it is shortened or refused.
"""

import asyncio
import random
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import NamedTuple

from postroad.mail.traffic import TrafficClass
from postroad.mail.valueclass import valueclass
from postroad.process.background.backoff import Backoff
from postroad.spool.errors import (
    ClaimLost,
    PublishRefused,
    RecordTooLarge,
    SpoolError,
    SpoolFull,
    SpoolUnavailable,
)
from postroad.spool.interface import Deferred, Held, Put, Ready
from postroad.spool.jetstream.nats.client import FastClient
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.incoming import header_of
from postroad.spool.jetstream.nats.pub_ack import Acknowledged, acknowledged, check_ack
from postroad.spool.jetstream.nats.requests import NoResponders, Requests, checked
from postroad.spool.jetstream.publish.refusing import RefusingStreams
from postroad.spool.jetstream.publish.succession import comes_soon, following
from postroad.spool.jetstream.streams.subjects import (
    intake_subject,
    pack_subject,
    ready_subject,
    subject_of,
)
from postroad.spool.lanes.keys import Key
from postroad.spool.lanes.lane import lane_of
from postroad.spool.lanes.layout import Layout
from postroad.spool.metrics import PUBLISH_RECORDS, PUBLISH_SECONDS
from postroad.spool.puts.accepted import as_accepted
from postroad.spool.puts.message_id import message_id
from postroad.spool.record import BlobRef, QueueRecord
from postroad.spool.wire.pack import MOST, PACK_OCTETS, pack, packed_size
from postroad.spool.wire.record import encode
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

LONGEST = timedelta(seconds=60)
MAX_BATCH = 1000  # messages, a limit of the server

_TRY_TIMEOUT = 3.0  # seconds for one answer
_BACKOFF = Backoff(timedelta(seconds=0.05), timedelta(seconds=0.25))
_AROUND_PACK = 4096  # octets, at most
_HEADROOM = 512  # octets of headers besides their values: names, and the headers of a claim


@valueclass(frozen=True, slots=True)
class _Message:
    subject: str
    payload: bytes
    headers: dict[str, str]


class PackLine(NamedTuple):
    """Where new mail is stored that may share a pack."""

    shard: int
    pool: str
    traffic_class: TrafficClass
    lane: str


class Publisher:
    """Stores puts in shards; `refusing` is told which streams take them."""

    def __init__(
        self,
        link: NatsLink,
        requests: Requests,
        layout: Layout,
        refusing: RefusingStreams | None = None,
    ) -> None:
        self._link = link
        self._requests = requests
        self._layout = layout
        self._refusing = refusing

    def packable(self, puts: Sequence[Put], shard: int) -> tuple[PackLine, list[bytes]] | None:
        """
        Return where new mail may be packed with other mail, and its records; None if it may not.

        Bodies apart from their records end with them, and mail that has to wait is moved at once.
        """
        lines = {self._line(put.record, shard) for put in puts}
        if len(lines) != 1 or not all(map(_is_packable, puts)):
            return None
        encoded = [self._payload(put.record, _HEADROOM) for put in puts]
        octets = sum(map(packed_size, encoded))
        if len(puts) > 1 and (len(puts) > MOST or octets > self.pack_octets):
            return None
        return lines.pop(), encoded

    def _line(self, record: QueueRecord, shard: int) -> PackLine:
        lane = lane_of(record, self._layout.lanes)
        return PackLine(shard, record.pool, record.traffic_class, lane)

    @property
    def pack_octets(self) -> int:
        """How many octets a pack of several records may have."""
        limit = self._link.client.max_payload or PACK_OCTETS
        return min(PACK_OCTETS, limit - _AROUND_PACK)

    async def accept_pack(
        self, line: PackLine, records: Sequence[tuple[QueueRecord, bytes]], *, timeout: timedelta
    ) -> int:
        """Store new mail as one message; return its sequence. Raises as `accept` does."""
        if len(records) == 1:
            subject = intake_subject(line.shard, records[0][0], line.lane)
            payload = records[0][1]
        else:
            subject = pack_subject(line.shard, [record for record, _ in records], line.lane)
            payload = pack([octets for _, octets in records])
        # Only a repeated publish of it has the same id.
        message = _Message(subject, payload, {"Nats-Msg-Id": secrets.token_hex(13)})
        return (await self._until_stored([message], timeout, len(records))).sequence

    async def accept(self, puts: Sequence[Put], *, shard: int, timeout: timedelta) -> int:
        """
        Store new mail in a shard's intake, all puts or none; return the last one's sequence.

        With PublishRefused, RecordTooLarge and SpoolFull nothing is stored, by any try; with
        SpoolUnavailable that is unknown.
        """
        messages = [self._new_mail(put, shard) for put in puts]
        return (await self._until_stored(messages, min(timeout, LONGEST))).sequence

    async def publish(
        self, puts: Sequence[Put], *, timeout: timedelta, origin: Key, goes_ahead: bool = False
    ) -> None:
        """
        Store all puts that follow from the record `origin`, or none, where mail of its shard waits.

        What `goes_ahead` need not wait until `origin` is gone. Raises the errors of `accept`, and
        ClaimLost.
        """
        former = None if goes_ahead else origin
        messages = [self._message(put, origin, former) for put in puts]
        await self._until_stored(messages, min(timeout, LONGEST))

    async def claim(
        self,
        puts: Sequence[Put],
        claim: Mapping[str, str],
        *,
        timeout: timedelta,
        origin: Key,
        former: Key | None,
    ) -> bool:
        """
        Store puts, the first of which replaces the waiting record `origin`.

        `claim` has the headers for that. `former` is the record that the waiting one follows from,
        None when that is gone. Returns False when an earlier try has stored the puts: then this try
        has removed nothing. Raises the errors of `publish`.
        """
        messages = [self._message(put, origin, former) for put in puts]
        messages[0].headers.update(claim)
        stored = await self._until_stored(messages, min(timeout, LONGEST))
        return not stored.repeated

    async def _until_stored(
        self, messages: Sequence[_Message], timeout: timedelta, records: int = 0
    ) -> Acknowledged:
        loop = asyncio.get_running_loop()
        began = perf_counter()
        deadline = loop.time() + timeout.total_seconds()
        failures, in_doubt = 0, False
        while True:
            try:
                stored = await self._noted_try(messages, deadline - loop.time())
            except (NoResponders, PublishRefused) as error:
                failure: SpoolError = error
                if not in_doubt:
                    raise PublishRefused(str(error), code=error.code) from error
            except SpoolFull as error:
                failure = error
                if not in_doubt:
                    raise
            except ClaimLost:
                raise
            except SpoolUnavailable as error:
                failure, in_doubt = error, True
            else:
                PUBLISH_SECONDS.observe(perf_counter() - began)
                PUBLISH_RECORDS.observe(records or len(messages))
                return stored
            failures += 1
            pause = _BACKOFF.seconds(failures, random)
            if loop.time() + pause >= deadline:
                raise SpoolUnavailable(f"not stored in time: {failure}") from failure
            await asyncio.sleep(pause)

    async def _noted_try(self, messages: Sequence[_Message], left: float) -> Acknowledged:
        if self._refusing is None:
            return await self._try(messages, left)
        subject = messages[0].subject
        try:
            stored = await self._try(messages, left)
        except ClaimLost:
            raise
        except SpoolError as error:
            self._refusing.failed(subject, error)
            raise
        self._refusing.stored(subject)
        return stored

    async def _try(self, messages: Sequence[_Message], left: float) -> Acknowledged:
        timeout = max(0.05, min(_TRY_TIMEOUT, left))
        if len(messages) == 1:
            only = messages[0]
            answer = self._requests.begin(
                only.subject, only.payload, headers=only.headers, timeout=timeout
            )
            return acknowledged(checked(await answer))
        return await self._try_batch(messages, timeout)

    async def _try_batch(self, messages: Sequence[_Message], timeout: float) -> Acknowledged:
        if len(messages) > MAX_BATCH:
            raise SpoolUnavailable(f"{len(messages)} records are too many for one batch")
        batch = secrets.token_hex(12)  # a name that others knew, they could use first
        client = self._link.client
        for number, message in enumerate(messages, 1):
            headers = message.headers | {
                "Nats-Batch-Id": batch,
                "Nats-Batch-Sequence": str(number),
            }
            if number == len(messages):
                headers["Nats-Batch-Commit"] = "1"
                answer = await self._requests.send(
                    message.subject, message.payload, headers=headers, timeout=timeout
                )
                break
            if number == 1:
                # The first is a request, so that a stream without a leader, or without room for
                # another batch, refuses at once, not after the whole batch.
                begun = await self._requests.send(
                    message.subject, message.payload, headers=headers, timeout=timeout
                )
                check_ack(begun)
            else:
                _post(client, message, headers)
        return acknowledged(answer)

    def _new_mail(self, put: Put, shard: int) -> _Message:
        record, lane = as_accepted(put), lane_of(put.record, self._layout.lanes)
        headers = {"Nats-Msg-Id": message_id(put, lane, None)}
        payload = self._payload(record, _HEADROOM + len(headers["Nats-Msg-Id"]))
        return _Message(intake_subject(shard, record, lane), payload, headers)

    def _message(self, put: Put, origin: Key, former: Key | None) -> _Message:
        record, shard = put.record, origin.shard
        lane = lane_of(record, self._layout.lanes)
        headers = {"Nats-Msg-Id": message_id(put, lane, origin)}
        by_id = False
        if record.step and (former is not None or origin.part):
            now = datetime.now(UTC)
            by_id = comes_soon(put.place, now)
            headers |= following(former, put.place, now) if former is not None else {}
        subject = subject_of(shard, put, lane, by_id=by_id)
        due = _due(put)
        if due is not None:
            headers["Nats-Schedule"] = f"@at {due.isoformat().replace('+00:00', 'Z')}"
            headers["Nats-Schedule-Target"] = ready_subject(shard, record, lane, by_id=by_id)
        around = _HEADROOM + sum(map(len, headers.values()))
        return _Message(subject, self._payload(record, around), headers)

    def _payload(self, record: QueueRecord, around: int) -> bytes:
        """
        Encode a record, without its recipients' replies if it would be too large for the server.

        The server would close the connection. Raises RecordTooLarge if that is not enough.
        """
        payload = encode(record)
        limit = self._link.client.max_payload or 0
        if not limit or len(payload) + around <= limit:
            return payload
        shorter = encode(record.without_replies())
        if len(shorter) + around > limit:
            raise RecordTooLarge(f"a record of {len(shorter)} octets is over the server's limit")
        log.warning(
            "a record is stored without the replies for its recipients: they were too long",
            record_id=str(record.record_id),
            size=len(payload),
        )
        return shorter


def _is_packable(put: Put) -> bool:
    record = put.record
    ready = isinstance(put.place, Ready) and not record.needs
    return ready and not isinstance(record.content, BlobRef)


def _post(client: FastClient, message: _Message, headers: Mapping[str, str]) -> None:
    try:
        client.post(message.subject, message.payload, header=header_of(headers))
    except OSError as error:
        raise SpoolUnavailable(f"cannot write to NATS: {error}") from error


def _due(put: Put) -> datetime | None:
    match put.place:
        case Deferred(due):
            return due.astimezone(UTC)
        case Held(until):
            return until.astimezone(UTC)
    return None
