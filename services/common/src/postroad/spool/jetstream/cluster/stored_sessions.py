"""
Sessions as they are stored, and what is believed of them.

The servers let each role write only keys with its own name. So the key says who wrote a session,
and one that gives another role or id is not read. Only delivery takes mail: that another role does,
or uses connections, is not believed either.
"""

import json
import sys
from dataclasses import asdict, replace
from datetime import datetime

from postroad.spool.agreement import SessionInfo
from postroad.spool.jetstream.nats.key_value import Bucket, is_deletion

SESSION_KEYS = "session.>"
_TAKES = "delivery"


def session_key(info: SessionInfo) -> str:
    """Return the key of a session: a role may write under its own name only."""
    return f"session.{info.role}.{info.session_id}"


def encode(info: SessionInfo) -> bytes:
    """Encode a session as it is stored."""
    return json.dumps(asdict(info), default=str).encode()


async def read_sessions(bucket: Bucket, keys: str) -> tuple[list[SessionInfo], int]:
    """Return the sessions stored under keys of a bucket, and the last revision."""
    found: list[SessionInfo] = []
    after, pending = 0, 1
    while pending:
        page = await bucket.changes(keys, after=after)
        for message in page.messages:
            after = message.sequence
            if not is_deletion(message):
                info = _believed(bucket.key_of(message), _decode(message.data))
                found += [info] if info is not None else []
        pending = page.pending if page.messages else 0
    return found, after


def _decode(data: bytes) -> SessionInfo | None:
    try:
        said = json.loads(data)
        return SessionInfo(
            session_id=str(said["session_id"]),
            role=str(said["role"]),
            process=str(said["process"]),
            pool=str(said["pool"]),
            generation=int(said["generation"]),
            started=datetime.fromisoformat(said["started"]),
            taking=said.get("taking") is True,
            full=said.get("full") is True,
            unserved=tuple(str(pool) for pool in said.get("unserved", ())),
            stale=said.get("stale") is True,
            left_open=tuple((str(name), int(count)) for name, count in said.get("left_open", ())),
            settled=int(said.get("settled", sys.maxsize)),
            awaits=int(said.get("awaits", 0)),
            memory=str(said.get("memory", "")),
        )
    except (ValueError, KeyError, TypeError):
        return None  # of another release, or not a session: it counts as owning nothing


def _believed(key: str, info: SessionInfo | None) -> SessionInfo | None:
    """Return what is believed of a session; the notes of takers have no role in their keys."""
    _, *roles, session_id = key.split(".")
    if info is None or session_id != info.session_id or roles not in ([], [info.role]):
        return None
    return info if info.role == _TAKES else replace(info, taking=False, unserved=(), left_open=())
