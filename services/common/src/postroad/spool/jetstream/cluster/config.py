"""
The published configuration in KV `config`: one key for each object, and a head that commits them.

The publisher writes the changed entries, each with its generation, and then the head: generation,
number of entries, and a digest of all their names and contents. A reader reads the head twice a
second (one small request), and reads the changes only when the head has changed. It puts a state in
force when its entries match the head exactly. So if a publisher is killed half-way, the old state
stays in force everywhere until a publisher completes the new one.

Reading by revision needs no consumer, which would be lost when a server restarts. If entries and
head do not match for some seconds, everything is read again from the start. That happens when a
deletion marker has expired, or when the bucket was created again and its revisions restart.

If nats-server is killed after a deletion marker has expired, it may bring the deleted entry back
(see `spool.jetstream.bodies.deletion`). Readers that have the state do not see it, but those that
start later never get one that matches the head. So after each reconnect, the publisher reads
everything before it publishes again, which it does every minute, and deletes what should not be
there.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType

from postroad.spool.agreement import ConfigState
from postroad.spool.errors import RecordTooLarge, SpoolError, SpoolUnavailable
from postroad.spool.jetstream.nats.direct_get import StoredMessage
from postroad.spool.jetstream.nats.key_value import (
    Bucket,
    Outdated,
    Write,
    deletion,
    is_deletion,
    text_of,
    token,
)
from postroad.telemetry.logs import get_logger

_HEAD = "head"
_ENTRY = "entry."
_GENERATION = "Postroad-Generation"
_LOOKS_EVERY = timedelta(milliseconds=500)
_READ_ANEW_AFTER = timedelta(seconds=5)
_READ_ANEW_AT_MOST_EVERY = timedelta(minutes=2)
_PATIENCE = timedelta(seconds=20)  # a killed leader of the bucket costs up to 9 s
_DELETION_IS_TOLD_FOR = timedelta(hours=1)  # the life of a deletion marker

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Head:
    """The head, which the publisher writes last."""

    generation: int
    entries: int
    digest: str
    revision: int = 0

    def encoded(self) -> bytes:
        """Return the head as it is stored."""
        content = {
            "generation": self.generation,
            "entries": self.entries,
            "digest": self.digest,
        }
        return json.dumps(content).encode()


@dataclass(frozen=True, slots=True)
class _Entry:
    """An object in the bucket."""

    value: bytes
    digest: bytes


@dataclass
class _View:
    """What one reader has read from the bucket."""

    entries: dict[str, _Entry] = field(default_factory=dict)
    head: _Head | None = None
    newest: int = 0  # the highest generation seen on an entry or a deletion
    revision: int = 0

    async def catch_up(self, bucket: Bucket) -> None:
        """Read what changed since the last time."""
        while True:
            found = await bucket.changes(">", after=self.revision)
            for message in found.messages:
                self._apply(bucket.key_of(message), message)
                self.revision = message.sequence
            if not found.pending:
                return

    def _apply(self, key: str, message: StoredMessage) -> None:
        if key == _HEAD:
            self.head = _parse_head(message)
            return
        name = text_of(key.removeprefix(_ENTRY))
        self.newest = max(self.newest, int(message.headers.get(_GENERATION, "0")))
        if is_deletion(message):
            self.entries.pop(name, None)
        else:
            self.entries[name] = _Entry(message.data, _digest(name, message.data))

    @property
    def complete(self) -> bool:
        """Whether the entries match the head exactly."""
        return (
            self.head is not None
            and self.newest <= self.head.generation
            and len(self.entries) == self.head.entries
            and self.head.digest == _digest_of_all(self.entries)
        )

    def state(self) -> ConfigState:
        """Return the entries; they may be put in force if the view is complete."""
        entries = {name: entry.value for name, entry in self.entries.items()}
        generation = self.head.generation if self.head else 0
        return ConfigState(generation, MappingProxyType(entries))


class JetStreamConfig:
    """Implements agreement.Config. Only one process may publish at a time; others get an error."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._publishing = asyncio.Lock()
        self._published = _View()
        self._highest = 0  # the last generation published here, even if the bucket is lost
        self._is_in_doubt = False  # the bucket may have more than what was published

    @property
    def largest_entry(self) -> int:
        """The octets of the largest entry that the connected server stores."""
        return self._bucket.largest_value

    def doubt(self) -> None:
        """Read everything before the next publication, as the servers may have restarted."""
        self._is_in_doubt = True

    async def publish(self, entries: Mapping[str, bytes]) -> int:
        """
        Write changed entries, remove missing ones, then write the head; return its generation.

        Without changes nothing is written. With SpoolUnavailable or SpoolFull the new entries are
        in force nowhere, and publishing again completes them. RecordTooLarge names the entries that
        are too large; nothing is written, and a retry would fail again.
        """
        async with self._publishing:
            view = await self._catch_up()
            digests = {name: _digest(name, value) for name, value in entries.items()}
            changed = [n for n, d in digests.items() if _held(view, n) != d]
            gone = [name for name in view.entries if name not in entries]
            if view.complete and not changed and not gone and view.head is not None:
                return view.head.generation
            self._check_sizes(entries, changed)
            latest = view.head.generation if view.head else 0
            generation = max(latest, view.newest, self._highest) + 1
            await self._write(entries, changed, gone, generation)
            wanted = {name: _Entry(entries[name], digest) for name, digest in digests.items()}
            head = _Head(generation, len(wanted), _digest_of_all(wanted))
            revision = await self._commit(head, view.head)
            if revision == view.revision + len(changed) + len(gone) + 1:
                # There were no other writes in between, so nothing need be read again.
                head = replace(head, revision=revision)
                self._published = _View(wanted, head, generation, revision)
            self._highest = generation
            return generation

    def _check_sizes(self, entries: Mapping[str, bytes], changed: Sequence[str]) -> None:
        bound = self.largest_entry
        large = [f"{name} ({len(entries[name])})" for name in changed if len(entries[name]) > bound]
        if large:
            raise RecordTooLarge(f"larger than the {bound} octets stored: {', '.join(large)}")

    async def _catch_up(self) -> _View:
        """Read the changes; read everything if the bucket may have become another."""
        if self._is_in_doubt or _is_another(await self._bucket.get(_HEAD), self._published):
            self._published, self._is_in_doubt = _View(), False
        await self._published.catch_up(self._bucket)
        return self._published

    async def last(self) -> ConfigState | None:
        """Return the entries of now, from which a restarted publisher continues."""
        async with self._publishing:
            view = await self._catch_up()
            until = asyncio.get_running_loop().time() + _READ_ANEW_AFTER.total_seconds()
            # Either a publication is incomplete, or a lagging replica has answered.
            while view.head and not view.complete and asyncio.get_running_loop().time() < until:
                await asyncio.sleep(_LOOKS_EVERY.total_seconds())
                view = await self._catch_up()
            if view.head is None and not view.entries:
                return None
            return view.state()

    async def follow(self) -> AsyncIterator[ConfigState]:
        """Yield each complete state; waits while the bucket is unavailable."""
        view = _View()
        looking = _Looking()
        in_force = 0
        while True:
            try:
                head = await self._bucket.get(_HEAD)
                if _has_news(head, view) or not view.complete:
                    await view.catch_up(self._bucket)
            except SpoolError as error:
                log.debug("the configuration is not read", error=str(error))
            else:
                if not view.complete or _is_another(head, view):
                    view = looking.unsettled(view)
                elif view.head is not None:
                    looking.settled()
                    if view.head.generation != in_force:
                        in_force = view.head.generation
                        yield view.state()
            await asyncio.sleep(_LOOKS_EVERY.total_seconds())

    async def _write(
        self, entries: Mapping[str, bytes], changed: list[str], gone: list[str], generation: int
    ) -> None:
        headers = {_GENERATION: str(generation)}
        writes = [Write(_ENTRY + token(name), entries[name], headers) for name in changed]
        writes += [
            deletion(_ENTRY + token(name), told_for=_DELETION_IS_TOLD_FOR, headers=headers)
            for name in gone
        ]
        await self._bucket.put_all(writes, patience=_PATIENCE)

    async def _commit(self, head: _Head, before: _Head | None) -> int:
        """
        Replace the head and return its revision.

        SpoolUnavailable if another process has written a head meanwhile.
        """
        expected = before.revision if before else 0
        deadline = asyncio.get_running_loop().time() + _PATIENCE.total_seconds()
        while True:
            try:
                return await self._bucket.put(_HEAD, head.encoded(), expected=expected)
            except Outdated:
                # Perhaps an earlier try stored this head, and its acknowledgement was lost.
                stored = await self._bucket.get(_HEAD)
                if stored is not None and stored.data == head.encoded():
                    return stored.sequence
                raise SpoolUnavailable("another process publishes the configuration") from None
            except SpoolUnavailable:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(0.5)


@dataclass
class _Looking:
    """Decides when to read everything again."""

    since: float | None = None
    patience: timedelta = _READ_ANEW_AFTER

    def settled(self) -> None:
        """Note that entries and head match."""
        self.since, self.patience = None, _READ_ANEW_AFTER

    def unsettled(self, view: _View) -> _View:
        """Return the view to continue with: the same, or an empty one to read everything again."""
        now = asyncio.get_running_loop().time()
        if self.since is None:
            self.since = now
        if now - self.since < self.patience.total_seconds():
            return view
        self.since = now
        self.patience = min(2 * self.patience, _READ_ANEW_AT_MOST_EVERY)
        return _View()


def _has_news(head: StoredMessage | None, view: _View) -> bool:
    known = view.head.revision if view.head else 0
    return head is not None and head.sequence > known


def _is_another(head: StoredMessage | None, view: _View) -> bool:
    """
    Whether the stored head is neither the one in the view nor a later one.

    Then the bucket was created again, or a lagging replica has answered.
    """
    if view.head is None or _has_news(head, view):
        return False
    return head is None or (head.sequence, head.data) != (view.head.revision, view.head.encoded())


def _held(view: _View, name: str) -> bytes | None:
    entry = view.entries.get(name)
    return entry.digest if entry else None


def _digest(name: str, value: bytes) -> bytes:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape"))
    digest.update(b"\0")
    digest.update(value)
    return digest.digest()


def _digest_of_all(entries: Mapping[str, _Entry]) -> str:
    digest = hashlib.sha256()
    for name in sorted(entries):
        digest.update(entries[name].digest)
    return digest.hexdigest()


def _parse_head(message: StoredMessage) -> _Head | None:
    if is_deletion(message):
        return None
    content = json.loads(message.data)
    return _Head(
        content["generation"], content["entries"], content["digest"], revision=message.sequence
    )
