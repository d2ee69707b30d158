"""
Holding lanes: taking the ones this process should own, leaving those it should not.

The owner key of a lane names a session and is void once that session is gone. It is written only
when ownership changes. Correctness does not hang on it, since JetStream hands a record to one
puller at a time; limits do.

Who leaves a lane while connections are in use there tells so in its session before the lane is
released, and writes into the key as of which revision. Who takes the lane reads the sessions at
least as of that before its mail is touched: so it knows what is left of each limit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass

from postroad.spool.errors import SpoolError
from postroad.spool.jetstream.cluster.membership import Membership
from postroad.spool.jetstream.nats.key_value import Bucket, Outdated, is_deletion, token
from postroad.spool.lanes.assignment import LaneKey, wanted_lanes
from postroad.spool.lanes.lane import in_rows, lane_names
from postroad.spool.lanes.layout import Layout
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_LEFT = b"left at "  # and a revision, in the key of a lane that was released
_LOOKING_PATIENCE = 10.0  # seconds without sessions as new as they should be
_LEAVING_PATIENCE = 5.0  # seconds that what is in flight of a lane may hold up its release


@dataclass(slots=True)
class _OwnedLane:
    revision: int
    begins: float  # when its mail may be taken, however old the sessions are that were read
    since: int = 0  # the revision of sessions that has to be read before; 0 once it was
    leaving_since: float | None = None


class LaneOwnership:
    """The lanes this process owns. `take` and `leave` are told, `in_flight` is asked."""

    def __init__(
        self,
        bucket: Bucket,
        membership: Membership,
        layout: Layout,
        *,
        take: Callable[[LaneKey], None],
        leave: Callable[[LaneKey], Awaitable[None]],
        in_flight: Callable[[LaneKey], int],
        left_open: Callable[[], tuple[tuple[str, int], ...]],
    ) -> None:
        self._bucket = bucket
        self._membership = membership
        self._lanes = lane_names(layout.lanes)
        self._take = take
        self._leave = leave
        self._in_flight = in_flight
        self._left_open = left_open
        self._owned: dict[LaneKey, _OwnedLane] = {}
        # Lanes whose key may name this session all the same, or may yet: a write was not answered.
        self._in_doubt: set[LaneKey] = set()
        self._pools: set[str] = set()
        self._unclaimed: set[LaneKey] = set()  # owned, and their keys may be lost
        self._resets = membership.resets

    @property
    def lanes(self) -> frozenset[str]:
        """The lanes owned now, of whatever pool."""
        return frozenset(key.lane for key in self._owned)

    @property
    def lanes_elsewhere(self) -> frozenset[str]:
        """All other lanes, whoever has them."""
        return frozenset(self._lanes) - self.lanes

    def know_pools(self, pools: Iterable[str]) -> None:
        """Also look after the lanes of these pools, should they have no members of their own."""
        self._pools.update(pools)

    async def adjust(self) -> None:
        """Bring what is owned nearer to what should be, by the sessions as last seen."""
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
            return  # a lane whose key is lost looks like nobody's: all stay where they are
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
        """Whether keys just written say what they seem to: those before them were not lost."""
        self._in_doubt.update(keys)
        try:
            if await self._membership.same_memory():
                return True
        except SpoolError as error:
            log.debug("lanes cannot be taken for now", error=str(error))
            return False
        for key in keys:  # their owners may live, and are about to write their keys again
            await self._disown(key)
        return False

    def _stay(self, key: LaneKey) -> None:
        owned = self._owned[key]
        if owned.leaving_since is not None:
            owned.leaving_since = None
            if not owned.since:
                self._take(key)

    async def _write_owner(self, key: LaneKey) -> _OwnedLane | None:
        """Write that a lane is ours, unless it is somebody's."""
        name = _name(key)
        try:
            found = await self._bucket.get(name)
            if found is not None and self._is_held(found.data, gone=is_deletion(found)):
                return None
            expected = found.sequence if found is not None else 0
            revision = await self._bucket.put(name, self._mine, expected=expected)
        except Outdated:
            return None  # somebody was faster; the next look tells who
        except SpoolError as error:
            self._in_doubt.add(key)
            log.debug("a lane cannot be taken for now", lane=key.lane, error=str(error))
            return None
        begins = asyncio.get_running_loop().time() + _LOOKING_PATIENCE
        return _OwnedLane(revision, begins, max(1, _left_at(found.data if found else b"")))

    async def _begin(self) -> None:
        """Take the mail of lanes that are new, once it is known what others have open there."""
        new = {key: owned for key, owned in self._owned.items() if owned.since}
        if not new:
            return
        if any(owned.since > self._membership.looked for owned in new.values()):
            try:
                await self._membership.look()
            except SpoolError as error:
                log.debug("lanes that are new have to wait", error=str(error))
        now = asyncio.get_running_loop().time()
        for key, owned in new.items():
            if owned.since <= self._membership.looked or now >= owned.begins:
                owned.since = 0
                if owned.leaving_since is None:
                    self._take(key)

    async def _tell_left_open(self) -> bool:
        """Tell in our session what is open where lanes were left; whether that is written."""
        try:
            await self._membership.set_left_open(self._left_open())
        except SpoolError as error:
            log.debug("what is left open cannot be told", error=str(error))
            return False
        return True

    @property
    def _mine(self) -> bytes:
        return self._membership.session_id.encode()

    async def _claim_again(self, key: LaneKey) -> None:
        """Write an owner key that may be lost with the servers' memory; leave a lane of others'."""
        owned = self._owned.get(key)
        if owned is None:
            self._unclaimed.discard(key)
            return
        name = _name(key)
        try:
            found = await self._bucket.get(name)
            if found is None or not self._is_others(found.data):
                # Nobody's is also what somebody wrote who had taken it for nobody's.
                expected = found.sequence if found is not None else 0
                owned.revision = await self._bucket.put(name, self._mine, expected=expected)
                self._unclaimed.discard(key)
                return
        except Outdated:
            return  # the next look tells by whom
        except SpoolError as error:
            log.debug("an owner key could not be written again", lane=key.lane, error=str(error))
            return
        self._unclaimed.discard(key)
        if self._owned.pop(key, None) is None:
            return  # it was released meanwhile, at the end
        self._in_doubt.add(key)
        await self._leave(key)

    def _is_others(self, owner: bytes) -> bool:
        return owner not in (b"", self._mine) and not owner.startswith(_LEFT)

    def _is_held(self, owner: bytes, *, gone: bool) -> bool:
        if gone or not owner or owner.startswith(_LEFT):
            return False
        session = owner.decode("ascii", "replace")
        if session == self._membership.session_id:
            return False
        return any(info.session_id == session for info in self._membership.seen)

    async def _move_out(self, key: LaneKey, now: float) -> None:
        owned = self._owned[key]
        if owned.leaving_since is None:
            owned.leaving_since = now
            await self._leave(key)
        if self._in_flight(key) and now - owned.leaving_since < _LEAVING_PATIENCE:
            return
        if await self._tell_left_open():
            await self._release(key)

    async def _release(self, key: LaneKey) -> None:
        owned = self._owned.pop(key, None)
        if owned is None:
            return  # a look that was under way at the end has released it
        try:
            left = b"%s%d" % (_LEFT, self._membership.known)
            await self._bucket.put(_name(key), left, expected=owned.revision)
        except SpoolError as error:
            self._in_doubt.add(key)
            log.debug("a lane's key may still stand", lane=key.lane, error=str(error))

    async def _disown(self, key: LaneKey) -> None:
        """
        Write that a lane is nobody's, unless it is somebody else's by now.

        Who should own it would wait for this session to end: it is alive, and does not know.
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
    """Return the revision as of which sessions tell what a lane's former owner has open there."""
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
