"""
Records of sites that processes share: claims, which end with their owners, and rate windows, which
outlive them.

Claims are in the bucket of sessions, in the servers' memory. Like sessions, they are written often,
worth nothing after a restart, and needed while storage is full, when outgoing mail makes room. So a
record may be lost while the owners of its claims are alive. A process that finds no record checks
that its own session still exists. After a loss, records are not certain until sessions have had
time to be written again.

A window matters even after a restart of everything, so it is on disk, in the bucket of the site
directory.
"""

import asyncio
import hashlib
import random
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from postroad.spool.agreement import SessionInfo, SiteKind, SiteView
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.cluster.sessions.membership import Membership
from postroad.spool.jetstream.nats.direct_get import StoredMessage
from postroad.spool.jetstream.nats.key_value import Bucket, Outdated, is_deletion
from postroad.spool.lanes.owners import owners

_PATIENCE = 5.0  # seconds
_MANY = 10_000


class JetStreamSiteRecords:
    """Implements agreement.SiteRecords."""

    def __init__(self, presence: Bucket, sites: Bucket, membership: Membership) -> None:
        self._presence = presence
        self._sites = sites
        self._membership = membership
        self._written: OrderedDict[str, tuple[int, float]] = OrderedDict()  # revision, expiry
        self._seen: dict[SiteKind, int] = {}
        self._resets = membership.resets

    @property
    def owner(self) -> str:
        """This process's session."""
        return self._membership.session_id

    @property
    def losses(self) -> int:
        """How often the keys of sessions and sites were lost."""
        return self._membership.resets

    @property
    def others(self) -> Sequence[SessionInfo]:
        """The other processes that take mail, when the sessions were last read."""
        return self._others(self._membership.seen)

    @property
    def hears_others(self) -> bool:
        """Whether `others` is current."""
        return self._membership.hears_others

    def _others(self, sessions: Iterable[SessionInfo]) -> list[SessionInfo]:
        return [info for info in sessions if info.taking and info.session_id != self.owner]

    def lives(self, owner: str) -> bool:
        """Whether an owner's session existed when the sessions were last read."""
        return owner in owners(self._membership.seen)

    async def change(
        self,
        kind: SiteKind,
        name: str,
        decide: Callable[[SiteView], bytes],
        *,
        lifetime: timedelta,
    ) -> None:
        """Replace a record by the result of `decide`."""
        bucket = self._sites if kind is SiteKind.WINDOW else self._presence
        key = f"site.{kind}.{hashlib.sha256(name.encode()).hexdigest()[:32]}"
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE
        while loop.time() < deadline:
            found = await self._read(bucket, key)
            if found is not None:
                after = decide(await self._view(kind, found))
                if after == found.data and not _is_old(found, lifetime):
                    return
                if await self._write(bucket, key, after, found.sequence, lifetime):
                    return
            await asyncio.sleep(random.uniform(0, 0.02))
        raise SpoolUnavailable(f"the record of {name} cannot be changed in time")

    async def _read(self, bucket: Bucket, key: str) -> StoredMessage | None:
        """Return the record, None when it is older than our own write: a follower may lag."""
        found = await bucket.get(key)
        self._heed_resets()
        if found is None or is_deletion(found):
            found = StoredMessage(key, found.sequence if found else 0, datetime.now(UTC), {}, b"")
        written, end = self._written.get(key, (0, 0.0))
        if found.sequence < written and asyncio.get_running_loop().time() < end:
            return None
        return found

    def _heed_resets(self) -> None:
        if self._resets != self._membership.resets:
            self._resets = self._membership.resets
            self._written.clear()
            self._seen.clear()

    async def _view(self, kind: SiteKind, found: StoredMessage) -> SiteView:
        if kind is SiteKind.WINDOW:
            return SiteView(found.data, frozenset(), certain=True)
        # Read after the record: the owner of a claim had a session before it claimed.
        sessions = await self._membership.look()
        live = owners(sessions)
        if self.owner not in live:
            raise SpoolUnavailable("the keys of sessions and sites were lost")
        settled = min((info.settled for info in self._others(sessions)), default=sys.maxsize)
        return SiteView(found.data, live, not self._membership.remembers, settled)

    async def _write(
        self, bucket: Bucket, key: str, record: bytes, expected: int, lifetime: timedelta
    ) -> bool:
        try:
            revision = await bucket.put(key, record, expected=expected, lifetime=lifetime)
        except Outdated:
            return False
        end = asyncio.get_running_loop().time() + lifetime.total_seconds()
        self._written[key] = revision, end
        self._written.move_to_end(key)
        if len(self._written) > _MANY:
            self._written.popitem(last=False)
        return True

    async def settle(self, generation: int, *, now: bool) -> None:
        """Tell the others that this process has settled a configuration."""
        await self._membership.settle(generation, now=now)

    def await_settled(self, generation: int) -> None:
        """Tell the others that this process waits until they have settled a configuration."""
        self._membership.await_settled(generation)

    async def news(self, kind: SiteKind) -> Sequence[bytes]:
        """Return the records of a kind that were written since the last call."""
        assert kind is not SiteKind.WINDOW, "its bucket is not read"
        self._heed_resets()
        records: list[bytes] = []
        pending = 1
        while pending:
            page = await self._presence.changes(f"site.{kind}.*", after=self._seen.get(kind, 0))
            for message in page.messages:
                self._seen[kind] = message.sequence
                records.append(message.data)
            pending = page.pending if page.messages else 0
        return records


def _is_old(found: StoredMessage, lifetime: timedelta) -> bool:
    """Whether a record must be written again so that it does not expire."""
    return bool(found.data) and datetime.now(UTC) - found.stored_at > lifetime / 2
