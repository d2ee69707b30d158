"""
Which process owns which lane: rendezvous hashing over the live sessions of a pool. Pure functions.

Each lane's wanted owner is the session with the highest hash of (lane, session); a session more or
less moves about 1/n of the lanes and no others. Lanes of a pool without live members belong to the
members of `default`, which only route their records anew.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from postroad.spool.agreement import SessionInfo

DEFAULT_POOL = "default"


class LaneKey(NamedTuple):
    """A lane of a pool."""

    pool: str
    lane: str


def wanted_owner(key: LaneKey, sessions: Sequence[str]) -> str | None:
    """Return the session that should own a lane, None when there is nobody."""
    return max(sessions, key=lambda session: (_weight(key, session), session), default=None)


def wanted_lanes(
    session_id: str, pools: Iterable[str], lanes: Sequence[str], sessions: Sequence[SessionInfo]
) -> set[LaneKey]:
    """Return the lanes a session should own, of every pool that has mail or members."""
    members: dict[str, list[str]] = {}
    for session in sessions:
        if session.taking:
            members.setdefault(session.pool, []).append(session.session_id)
    wanted = set()
    for pool in {*pools, *members, DEFAULT_POOL}:
        candidates = members.get(pool) or members.get(DEFAULT_POOL, [])
        for lane in lanes:
            key = LaneKey(pool, lane)
            if wanted_owner(key, candidates) == session_id:
                wanted.add(key)
    return wanted


def _weight(key: LaneKey, session_id: str) -> bytes:
    text = f"{key.pool}\0{key.lane}\0{session_id}"
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
