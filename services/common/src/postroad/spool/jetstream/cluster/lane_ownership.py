"""
Takes the lanes that this process should own, and leaves the others.

The owner key of a lane names a session, and is void when that session has ended. It is written only
when the owner changes. Correctness does not depend on it, because JetStream hands out a record to
one consumer at a time; but the limits of sites do.

If a process leaves a lane while connections to its sites are in use, it first tells so in its
session. Then it releases the lane, and writes the session's revision into the owner key. The next
owner reads the sessions up to at least that revision before it takes mail, so it knows what is left
of each limit.
"""

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from postroad.spool.errors import SpoolError
from postroad.spool.jetstream.cluster.sessions.membership import Membership
from postroad.spool.jetstream.nats.key_value import Bucket, Outdated, is_deletion, token
from postroad.spool.lanes.lane import in_rows, lane_names
from postroad.spool.lanes.layout import Layout
from postroad.spool.lanes.owners import DEFAULT_POOL, LaneKey, owners, wanted_lanes
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_LEFT = b"left at "  # and a revision, in the owner key of a released lane
_LOOKING_PATIENCE = 10.0  # seconds to wait for sessions of the required revision
_LEAVING_PATIENCE = 5.0  # seconds for which records in flight may delay a lane's release


@dataclass(slots=True)
class _OwnedLane:
    revision: int
    begins: float  # loop time from which its mail may be taken, even if `since` was not read
    since: int = 0  # the revision of sessions to read before; 0 once it was read
    leaving_since: float | None = None


class RebalanceListener(Protocol):
    """Whoever takes the mail of the lanes, and stops as a lane goes to another process."""

    def on_assigned(self, key: LaneKey) -> None:
        """Take the mail of a lane from now on."""

    async def on_revoked(self, key: LaneKey) -> None:
        """Take no more of a lane, and give back what has not begun."""

    def in_flight(self, key: LaneKey) -> int:
        """Return how many records of a lane are in hand."""

    def left_open(self) -> tuple[tuple[str, int], ...]:
        """Return the connections in use where lanes were left: how many for each site's name."""


class LaneOwnership:
    """The lanes that this process owns. It tells `listener` when a lane changes hands."""

    def __init__(
        self, bucket: Bucket, membership: Membership, layout: Layout, listener: RebalanceListener
    ) -> None:
        self._bucket = bucket
        self._membership = membership
        self._lanes = lane_names(layout.lanes)
        self._listener = listener
        self._owned: dict[LaneKey, _OwnedLane] = {}
        # Lanes that are not owned but whose keys may name this session: a write got no answer.
        self._in_doubt: set[LaneKey] = set()
        self._pools: set[str] = set()
        self._unclaimed: set[LaneKey] = set()  # lanes that are owned but whose keys may be lost
        self._resets = membership.resets

    @property
    def lanes(self) -> frozenset[str]:
        """The lanes that this process owns now, of any pool."""
        return frozenset(key.lane for key in self._owned)

    @property
    def lanes_elsewhere(self) -> frozenset[str]:
        """All other lanes."""
        return frozenset(self._lanes) - self.lanes

    def know_pools(self, pools: Iterable[str]) -> None:
        """Own lanes of these pools as well, while they have no processes of their own."""
        self._pools.update(pools)

    def is_planned(self, pool: str) -> bool:
        """Whether a Relay names a pool, or this process is a member of it."""
        return pool in self._pools or pool == DEFAULT_POOL

    async def adjust(self) -> None:
        """Take and leave lanes so that the owned ones are those assigned to this process."""
        await self._tell_left_open()
        if self._resets != self._membership.resets:
            self._resets = self._membership.resets
            self._unclaimed.update(self._owned)
        if self._unclaimed:
            await asyncio.gather(*(self._claim_again(key) for key in list(self._unclaimed)))
        if not self._membership.settled:
            await self._membership.hear_others()
        if not self._membership.settled:
            await self._begin()
            return  # a lane whose key was lost looks as if it had no owner: change nothing
        wanted = wanted_lanes(
            self._membership.session_id, self._pools, self._lanes, self._membership.seen
        )
        await self._leave_unwanted(wanted)
        await self._take_wanted(wanted)
        for key in sorted(self._in_doubt - wanted - self._owned.keys()):
            await self._disown(key)

    async def _leave_unwanted(self, wanted: set[LaneKey]) -> None:
        now = asyncio.get_running_loop().time()
        owned = list(self._owned)
        for key in owned:
            if key not in wanted:
                await self._move_out(key, now)
            else:
                self._stay(key)
        _tell("lanes are released", [key for key in owned if key not in self._owned])

    async def _take_wanted(self, wanted: set[LaneKey]) -> None:
        written: dict[LaneKey, _OwnedLane] = {}
        for key in sorted(wanted - self._owned.keys()):
            owned = await self._write_owner(key)
            if owned is not None:
                written[key] = owned
        if written and await self._are_ours(written.keys()):
            self._in_doubt.difference_update(written)
            self._owned.update(written)
            _tell("lanes are taken", written)
        await self._begin()

    async def _are_ours(self, keys: Collection[LaneKey]) -> bool:
        """Whether the keys just written are valid: no keys before them were lost."""
        self._in_doubt.update(keys)
        try:
            if await self._membership.same_memory():
                return True
        except SpoolError as error:
            log.debug("lanes cannot be taken for now", error=str(error))
            return False
        for key in keys:  # their owners may be alive, and will write their keys again
            await self._disown(key)
        return False

    def _stay(self, key: LaneKey) -> None:
        owned = self._owned[key]
        if owned.leaving_since is not None:
            owned.leaving_since = None
            if not owned.since:
                self._listener.on_assigned(key)

    async def _write_owner(self, key: LaneKey) -> _OwnedLane | None:
        """Write our session into a lane's owner key, unless the lane has an owner."""
        name = _name(key)
        try:
            found = await self._bucket.get(name)
            if found is not None and self._is_held(found.data, gone=is_deletion(found)):
                return None
            expected = found.sequence if found is not None else 0
            revision = await self._bucket.put(name, self._mine, expected=expected)
        except Outdated:
            return None  # another process was faster
        except SpoolError as error:
            self._in_doubt.add(key)
            log.debug("a lane cannot be taken for now", lane=key.lane, error=str(error))
            return None
        begins = asyncio.get_running_loop().time() + _LOOKING_PATIENCE
        return _OwnedLane(revision, begins, max(1, _left_at(found.data if found else b"")))

    async def _begin(self) -> None:
        """Take mail of new lanes, once it is known which connections others have in use there."""
        new = {key: owned for key, owned in self._owned.items() if owned.since}
        if not new:
            return
        if any(owned.since > self._membership.looked for owned in new.values()):
            try:
                await self._membership.look()
            except SpoolError as error:
                log.debug("new lanes have to wait", error=str(error))
        now = asyncio.get_running_loop().time()
        for key, owned in new.items():
            if owned.since <= self._membership.looked or now >= owned.begins:
                owned.since = 0
                if owned.leaving_since is None:
                    self._listener.on_assigned(key)

    async def _tell_left_open(self) -> bool:
        """Tell in our session which connections are in use in left lanes; return if written."""
        try:
            await self._membership.set_left_open(self._listener.left_open())
        except SpoolError as error:
            log.debug("connections of left lanes cannot be written", error=str(error))
            return False
        return True

    @property
    def _mine(self) -> bytes:
        return self._membership.session_id.encode()

    async def _claim_again(self, key: LaneKey) -> None:
        """Write an owner key again that may be lost; leave the lane if another process has it."""
        owned = self._owned.get(key)
        if owned is None:
            self._unclaimed.discard(key)
            return
        name = _name(key)
        try:
            found = await self._bucket.get(name)
            if found is None or not self._is_others(found.data):
                # Another process may have taken the lane for free and then disowned it.
                expected = found.sequence if found is not None else 0
                owned.revision = await self._bucket.put(name, self._mine, expected=expected)
                self._unclaimed.discard(key)
                return
        except Outdated:
            return  # another process was faster; try again with the next `adjust`
        except SpoolError as error:
            log.debug("an owner key could not be written again", lane=key.lane, error=str(error))
            return
        self._unclaimed.discard(key)
        if self._owned.pop(key, None) is None:
            return  # it was released meanwhile, at the process's end
        self._in_doubt.add(key)
        await self._listener.on_revoked(key)

    def _is_others(self, owner: bytes) -> bool:
        return owner not in (b"", self._mine) and not owner.startswith(_LEFT)

    def _is_held(self, owner: bytes, *, gone: bool) -> bool:
        if gone or not owner or owner.startswith(_LEFT):
            return False
        session = owner.decode("ascii", "replace")
        if session == self._membership.session_id:
            return False
        return session in owners(self._membership.seen)

    async def _move_out(self, key: LaneKey, now: float) -> None:
        owned = self._owned[key]
        if owned.leaving_since is None:
            owned.leaving_since = now
            await self._listener.on_revoked(key)
        if self._listener.in_flight(key) and now - owned.leaving_since < _LEAVING_PATIENCE:
            return
        if await self._tell_left_open():
            await self._release(key)

    async def _release(self, key: LaneKey) -> None:
        owned = self._owned.pop(key, None)
        if owned is None:
            return  # it was released already, at the process's end
        try:
            left = b"%s%d" % (_LEFT, self._membership.known)
            await self._bucket.put(_name(key), left, expected=owned.revision)
        except SpoolError as error:
            self._in_doubt.add(key)
            log.debug("a lane may not be released", lane=key.lane, error=str(error))

    async def _disown(self, key: LaneKey) -> None:
        """
        Write that a lane has no owner, unless another process owns it by now.

        Otherwise its rightful owner would wait for the end of this live session.
        """
        name = _name(key)
        try:
            found = await self._bucket.get(name)
            if found is None or not self._is_held(found.data, gone=is_deletion(found)):
                left = b"%s%d" % (_LEFT, self._membership.known)
                await self._bucket.put(name, left, expected=found.sequence if found else 0)
        except SpoolError as error:
            log.debug("a lane cannot be left for now", lane=key.lane, error=str(error))
            return
        self._in_doubt.discard(key)

    async def release_all(self) -> None:
        """Leave every lane, at the end."""
        owned = list(self._owned)
        await asyncio.gather(*(self._release(key) for key in owned))
        _tell("lanes are released", owned)


def _left_at(owner: bytes) -> int:
    """Return the revision of sessions that has the connections of a lane's former owner."""
    said = owner.removeprefix(_LEFT)
    return int(said) if owner.startswith(_LEFT) and said.isdigit() else 0


def _tell(what: str, keys: Iterable[LaneKey]) -> None:
    """Log that lanes changed hands, in a line for each pool."""
    by_pool: dict[str, list[str]] = {}
    for key in keys:
        by_pool.setdefault(key.pool, []).append(key.lane)
    for pool, lanes in sorted(by_pool.items()):
        log.info(what, lanes=in_rows(lanes), pool=pool)


def _name(key: LaneKey) -> str:
    return f"owner.{token(key.pool)}.{key.lane}"
