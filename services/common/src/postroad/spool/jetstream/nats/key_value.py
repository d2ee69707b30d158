"""
A NATS key-value bucket with compare-and-set, expiry of keys, and reading of changes.

nats-py's own class lacks some of that (expiry of an updated key, reading changes without a
consumer) and refuses keys that domains and addresses need. The wire format is the usual one, so
other tools can read these buckets.
"""

import asyncio
import math
import random
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TypeVar

import nats.errors
import nats.js.errors

from postroad.process.background.backoff import Backoff
from postroad.spool.errors import RecordTooLarge, SpoolError, SpoolFull, SpoolUnavailable
from postroad.spool.jetstream.nats import direct_get
from postroad.spool.jetstream.nats.cancellation import heed_cancellation
from postroad.spool.jetstream.nats.direct_get import Link, StoredMessage
from postroad.spool.jetstream.nats.incoming import Incoming
from postroad.spool.jetstream.nats.pub_ack import check_ack
from postroad.spool.wire.payload import MAX_PAYLOAD, largest_value

OPERATION = "KV-Operation"
_DELETED = frozenset({"DEL", "PURGE"})
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
_STORAGE_FULL = frozenset({10002, 10023, 10047, 10077})
_PUT_TIMEOUT = timedelta(seconds=2)
_BACKOFF = Backoff(timedelta(seconds=0.05), timedelta(seconds=1))
_BATCH_TIMEOUT = timedelta(seconds=10)
_BATCH_MESSAGES = 1000  # a limit of the server
_BATCH_OCTETS = 1024 * 1024

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Write:
    """A value for a key, or a deletion marker (see `deletion`)."""

    key: str
    value: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def deletion(key: str, *, told_for: timedelta, headers: Mapping[str, str]) -> Write:
    """Return the marker that deletes a key; it is kept for `told_for`, for readers of changes."""
    ends = {"Nats-TTL": _whole_seconds(told_for)}
    return Write(key, b"", {**headers, OPERATION: "DEL", **ends})


class Outdated(SpoolError):
    """The key has another revision than expected: read it and decide again."""


def token(text: str) -> str:
    """Encode any text as one token of a key; different texts give different tokens."""
    octets = text.encode("utf-8", "surrogateescape")
    return "".join(chr(o) if o in _PLAIN else f"={o:02X}" for o in octets) or "="


def text_of(key_token: str) -> str:
    """Decode a token made by `token`."""
    head, *rest = key_token.split("=")
    octets = bytearray(head.encode())
    for part in rest:
        octets += bytes.fromhex(part[:2]) + part[2:].encode()
    return octets.decode("utf-8", "surrogateescape")


def is_deletion(message: StoredMessage) -> bool:
    """Whether a stored message is a deletion marker."""
    return message.headers.get(OPERATION) in _DELETED or "Nats-Marker-Reason" in message.headers


class Bucket:
    """
    One bucket. Keys are used as they are; encode untrusted text with `token`.

    `part` names a stream of its own that keeps some of the bucket's keys: this reads only those.
    """

    def __init__(self, link: Link, name: str, *, part: str = "") -> None:
        self._link = link
        self._stream = f"KV_{part or name}"
        self._prefix = f"$KV.{name}."

    @property
    def largest_value(self) -> int:
        """The octets of the largest value that the connected server stores."""
        return largest_value(min(self._link.client.max_payload or MAX_PAYLOAD, MAX_PAYLOAD))

    def key_of(self, message: StoredMessage) -> str:
        """Return the key of a stored message."""
        return message.subject.removeprefix(self._prefix)

    async def get(self, key: str) -> StoredMessage | None:
        """Return a key's last message, which may be a deletion; None when there is none."""
        return await direct_get.last_on(self._link, self._stream, self._prefix + key)

    async def changes(self, keys: str, *, after: int) -> direct_get.Page:
        """Return a page of the current values (and deletions) of keys, in order of their change."""
        return await direct_get.page(self._link, self._stream, self._prefix + keys, after=after)

    async def put(
        self,
        key: str,
        value: bytes,
        *,
        expected: int | None = None,
        lifetime: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """
        Write a key, without retries, and return its revision.

        `expected` is the revision that the key must have, 0 for none; otherwise it raises Outdated.
        After `lifetime` (at least a second) the key expires. With SpoolUnavailable it is unknown
        whether the value was written; with SpoolFull and RecordTooLarge it was not.
        """
        every = dict(headers or {})
        if expected is not None:
            every["Nats-Expected-Last-Subject-Sequence"] = str(expected)
        if lifetime is not None:
            every["Nats-TTL"] = _whole_seconds(lifetime)
        return await self._store(self._prefix + key, value, every)

    async def _store(self, subject: str, value: bytes, headers: dict[str, str]) -> int:
        self._check_size(value)
        try:
            answer = await self._link.jetstream.publish(
                subject, value, headers=headers, timeout=_PUT_TIMEOUT.total_seconds()
            )
        except nats.js.errors.APIError as error:
            raise _meaning(error, self._stream) from error
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError) as error:
            heed_cancellation()
            raise SpoolUnavailable(f"{self._stream} does not answer") from error
        heed_cancellation()
        return answer.seq

    async def put_surely(
        self, key: str, value: bytes, *, patience: timedelta, lifetime: timedelta | None = None
    ) -> int:
        """Write a key unconditionally; retry for `patience` while the bucket is unavailable."""
        return await _surely(lambda: self.put(key, value, lifetime=lifetime), patience)

    async def remove(self, key: str, *, patience: timedelta, lifetime: timedelta) -> int:
        """Delete a key; the marker is kept for `lifetime`, for readers of changes."""
        write = deletion(key, told_for=lifetime, headers={})
        return await _surely(lambda: self._store(*self._wire(write)), patience)

    async def put_all(self, writes: Sequence[Write], *, patience: timedelta) -> None:
        """
        Write many keys unconditionally; retry while the bucket is unavailable.

        The keys go in batches, each of which is stored completely or not at all, and synced once.
        The stream must allow batches. With SpoolUnavailable or SpoolFull the first batches may be
        stored; with RecordTooLarge nothing is.
        """
        for write in writes:
            self._check_size(write.value)
        for batch in _batches(writes):
            await _surely(partial(self._put_together, batch), patience)

    async def _put_together(self, batch: Sequence[Write]) -> None:
        if len(batch) == 1:
            await self._store(*self._wire(batch[0]))
            return
        heading = {"Nats-Batch-Id": secrets.token_hex(12)}
        for number, write in enumerate(batch, 1):
            heading["Nats-Batch-Sequence"] = str(number)
            if number == len(batch):
                heading["Nats-Batch-Commit"] = "1"
            subject, value, headers = self._wire(write)
            # A stream that cannot take a batch refuses its first message.
            asked = number in (1, len(batch))
            await self._send(subject, value, headers | heading, asked=asked)

    def _check_size(self, value: bytes) -> None:
        """Refuse a value that is too large; the server would close the connection for it."""
        if len(value) > self.largest_value:
            raise RecordTooLarge(
                f"{self._stream} takes values of {self.largest_value} octets, not {len(value)}"
            )

    def _wire(self, write: Write) -> tuple[str, bytes, dict[str, str]]:
        return self._prefix + write.key, write.value, dict(write.headers)

    async def _send(
        self, subject: str, value: bytes, headers: dict[str, str], *, asked: bool
    ) -> None:
        client = self._link.client
        try:
            if not asked:
                await client.publish(subject, value, headers=headers)
                return
            answer = await client.request(
                subject, value, headers=headers, timeout=_BATCH_TIMEOUT.total_seconds()
            )
        except (nats.errors.Error, TimeoutError, OSError) as error:
            heed_cancellation()
            raise SpoolUnavailable(f"{self._stream} does not answer") from error
        heed_cancellation()
        check_ack(Incoming(subject, "", b"", answer.data))


async def _surely(put: Callable[[], Awaitable[_T]], patience: timedelta) -> _T:
    """Retry a write for `patience` while the bucket is unavailable."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience.total_seconds()
    failures = 0
    while True:
        try:
            return await put()
        except SpoolUnavailable:
            failures += 1
            wait = _BACKOFF.seconds(failures, random)
            if loop.time() + wait > deadline:
                raise
        await asyncio.sleep(wait)


def _batches(writes: Iterable[Write]) -> Iterator[list[Write]]:
    batch: list[Write] = []
    octets = 0
    for write in writes:
        if batch and (len(batch) == _BATCH_MESSAGES or octets + len(write.value) > _BATCH_OCTETS):
            yield batch
            batch, octets = [], 0
        batch.append(write)
        octets += len(write.value)
    if batch:
        yield batch


def _whole_seconds(lifetime: timedelta) -> str:
    return str(max(1, math.ceil(lifetime.total_seconds())))


def _meaning(error: nats.js.errors.APIError, stream: str) -> SpoolError:
    if error.err_code in _WRONG_LAST_SEQUENCE:
        return Outdated(f"the key in {stream} was changed by somebody else")
    if error.err_code in _STORAGE_FULL:
        return SpoolFull(f"{stream} takes no more")
    return SpoolUnavailable(f"{stream} refuses: {error.description} ({error.err_code})")
