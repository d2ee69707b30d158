"""
Assigns lanes to processes: rendezvous hashing over the live sessions of a pool. Pure functions.

A lane belongs to the session with the highest hash of (lane, session). So when a session joins or
leaves, about 1/n of the lanes move and no others. The lanes of a pool without live members belong
to the members of `default`, which only route their records again. Pools that are not in the
configuration are found by one session, which tells them to all (`consume.sweeps.unserved` in
`spool.jetstream`). A process that cannot read the whole configuration is a member of its pool only
if no other process can, because its mail would wait.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from postroad.spool.agreement import SessionInfo

DEFAULT_POOL = "default"

_POOL_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
# Each pool has consumers in each stream, which bears a thousand, and they stay for some minutes.
# Who accepts mail may invent any number of pools.
_MOST_UNSERVED = 10
_TAKES_A_TURN = timedelta(minutes=10)


class LaneKey(NamedTuple):
    """A lane of a pool."""

    pool: str
    lane: str


def wanted_owner(key: LaneKey, sessions: Sequence[str]) -> str | None:
    """Return the session that should own a lane, None without sessions."""
    return max(sessions, key=lambda session: (_weight(key, session), session), default=None)


def wanted_lanes(
    session_id: str, pools: Iterable[str], lanes: Sequence[str], sessions: Sequence[SessionInfo]
) -> set[LaneKey]:
    """
    Return the lanes that a session should own, of every pool that has mail or members.

    `pools` are the pools in the configuration.
    """
    members = _members(sessions)
    found = {pool for session in sessions if session.taking for pool in session.unserved}
    wanted = set()
    for pool in {*pools, *found, *members, DEFAULT_POOL}:
        candidates = members.get(pool) or members.get(DEFAULT_POOL, [])
        for lane in lanes:
            key = LaneKey(pool, lane)
            if wanted_owner(key, candidates) == session_id:
                wanted.add(key)
    return wanted


def owners(sessions: Iterable[SessionInfo]) -> frozenset[str]:
    """
    Return the sessions that may own lanes and claim sites: those of delivery processes.

    Processes of other roles may write sessions under any id, also that of a delivery process.
    """
    return frozenset(session.session_id for session in sessions if session.role == "delivery")


def finder(sessions: Sequence[SessionInfo]) -> str | None:
    """Return the session that has to look for pools with mail, a member of `default`."""
    return min(_members(sessions).get(DEFAULT_POOL, []), default=None)


def is_pool_name(text: str) -> bool:
    """Whether a text is the name of a pool: a label of the DNS, as in a Relay (RFC 1123)."""
    return _POOL_NAME.fullmatch(text) is not None


def in_turn(
    line: Mapping[str, float | None], unserved: Iterable[str], now: float
) -> dict[str, float | None]:
    """
    Return all unserved pools in line, each with the time since when it is served, None if it waits.

    If there are too many, each is served for ten minutes at least, also when its mail has gone
    meanwhile. Then it goes to the end of the line. `line` is the line so far; times are seconds.
    """
    stay, found = _TAKES_A_TURN.total_seconds(), {*unserved}
    kept = {pool: at for pool, at in line.items() if at is not None and now - at < stay}
    waiting = [pool for pool, since in line.items() if since is None and pool in found]
    had_turns = [pool for pool in line if pool in found and pool not in {*kept, *waiting}]
    order = [*waiting, *sorted(found - line.keys()), *had_turns]
    free = max(0, _MOST_UNSERVED - len(kept))
    return {**kept, **dict.fromkeys(order[:free], now), **dict.fromkeys(order[free:])}


def unserved_pools(with_mail: Collection[str], sessions: Sequence[SessionInfo]) -> tuple[str, ...]:
    """Return the pools that have mail but no members of their own, sorted."""
    return tuple(sorted({*with_mail} - _members(sessions).keys() - {DEFAULT_POOL}))


def _members(sessions: Sequence[SessionInfo]) -> dict[str, list[str]]:
    """Return the members of each pool; stale sessions only if a pool has no others."""
    able: dict[str, list[str]] = {}
    stale: dict[str, list[str]] = {}
    for session in sessions:
        if session.taking:
            members = stale if session.stale else able
            members.setdefault(session.pool, []).append(session.session_id)
    return stale | able


def _weight(key: LaneKey, session_id: str) -> bytes:
    text = f"{key.pool}\0{key.lane}\0{session_id}"
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
