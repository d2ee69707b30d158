"""
What processes agree on of sites: leases that end with their holders, and windows that outlive them.

Leases are in the bucket of sessions, in the servers' memory, for the reasons that sessions are:
written often, worth nothing after a restart, and to be had while storage is full, when mail that
leaves is what makes room. So a record may be lost while those live who have claims in it. Who finds
none makes sure that his own session is still there; for as long as sessions take to be written
again, what is read is not certain.

A window is of use after a restart of everything, so it is on disk, in the site directory's bucket.
"""

import asyncio
import hashlib
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from postroad.spool.agreement import SiteKind, SiteView
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.cluster.membership import Membership
from postroad.spool.jetstream.nats.direct_get import StoredMessage
from postroad.spool.jetstream.nats.key_value import Bucket, Outdated, is_deletion

_PATIENCE = 5.0  # seconds
_MANY = 10_000


class JetStreamSiteRecords:
    """Implements agreement.SiteRecords."""

    def __init__(self, presence: Bucket, sites: Bucket, membership: Membership) -> None:
        self._presence = presence
        self._sites = sites
        self._membership = membership
        self._written: OrderedDict[str, tuple[int, float]] = OrderedDict()  # revision, its end
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

    def lives(self, owner: str) -> bool:
        """Whether a session was there at the last look."""
        return any(info.session_id == owner for info in self._membership.seen)

    async def change(
        self,
        kind: SiteKind,
        name: str,
        decide: Callable[[SiteView], bytes],
        *,
        lifetime: timedelta,
    ) -> None:
        """Bring a record to what `decide` makes of it."""
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
        """Return what is there, None when that is older than what we know: a follower may lag."""
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
        membership = self._membership
        live: frozenset[str] = frozenset()
        if kind is SiteKind.CONNECTIONS:
            # After the record was read: who has a claim in it had a session before.
            live = frozenset(info.session_id for info in await membership.look())
            known = self.owner in live
        else:
            known = bool(found.data) or await membership.is_known()
        if not known:
            raise SpoolUnavailable("the keys of sessions and sites were lost")
        return SiteView(found.data, live, not membership.remembers)

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

    async def news(self, kind: SiteKind) -> Sequence[bytes]:
        """Return the records of a kind that were written since this was asked before."""
        assert kind is not SiteKind.WINDOW, "nobody else writes it"
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
    """Whether a record has to be written again lest it be forgotten."""
    return bool(found.data) and datetime.now(UTC) - found.stored_at > lifetime / 2
