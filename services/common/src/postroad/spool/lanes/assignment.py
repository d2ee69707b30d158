"""
Which process owns which lane: rendezvous hashing over the live sessions of a pool. Pure functions.

Each lane's wanted owner is the session with the highest hash of (lane, session); a session more or
less moves about 1/n of the lanes and no others. Lanes of a pool without live members belong to the
members of `default`, which only route their records anew. Pools of which the configuration does not
tell are told by the session that looked for mail in them (`spool.jetstream.consume.unserved`). Who
cannot read all of the configuration is no member of a pool that others are members of who can: its
mail would wait.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
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
    """
    Return the lanes a session should own, of every pool that has mail or members.

    `pools` are those that the configuration names.
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


def finder(sessions: Sequence[SessionInfo]) -> str | None:
    """Return the session that looks for pools with mail, one of those that would take it over."""
    return min(_members(sessions).get(DEFAULT_POOL, []), default=None)


def unserved_pools(with_mail: Collection[str], sessions: Sequence[SessionInfo]) -> tuple[str, ...]:
    """Return those pools that hold mail and have nobody to take it but `default`, by name."""
    return tuple(sorted({*with_mail} - _members(sessions).keys() - {DEFAULT_POOL}))


def _members(sessions: Sequence[SessionInfo]) -> dict[str, list[str]]:
    """Return the sessions of each pool that take mail: of those who can read all, if any can."""
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
