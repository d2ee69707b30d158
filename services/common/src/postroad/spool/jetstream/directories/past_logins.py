"""
Notes of successful logins in KV `quotas`, next to the counts of failed ones: keys `login.DIGEST`.

A note is a hint. Notes are written in the background, a limited number at once; if one cannot be
written, the client's next login writes it. A note is read before it is written, to learn its age by
the server's clock, so that a restarted process does not write the notes of the last days again. The
keys have two tokens, so that listings of quota usage do not see them.
"""

import asyncio
from collections import OrderedDict
from datetime import UTC, datetime, timedelta

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.errors import SpoolError
from postroad.spool.jetstream.nats.key_value import Bucket, is_deletion
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.telemetry.logs import get_logger

_LIFETIME = timedelta(days=30)
_WRITTEN_AGAIN = timedelta(days=7)
_LOOKED_AT_AGAIN = timedelta(days=1)
_KNOWN_KEYS = 10_000
_AT_ONCE = 32

log = get_logger(__name__)


class JetStreamPastLogins:
    """Implements agreement.PastLogins."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._recent: OrderedDict[str, float] = OrderedDict()  # the loop's time of the last check
        self._noting: set[str] = set()
        self._tasks = BackgroundTasks(INTERNAL_ERRORS)

    def note(self, key: str) -> None:
        """Write a note soon; if too many are being written, leave it to the client's next login."""
        since = self._recent.get(key)
        if since is not None and _time() - since < _LOOKED_AT_AGAIN.total_seconds():
            return
        if key in self._noting or len(self._noting) >= _AT_ONCE:
            return
        self._noting.add(key)
        self._tasks.spawn(self._note_quietly(key))

    async def noted(self, key: str) -> bool:
        """Whether there is a note; one that was stored without an end ends like all others."""
        written = await self._written(key)
        return written is not None and datetime.now(UTC) - written < _LIFETIME

    async def close(self) -> None:
        """Cancel the writing of notes."""
        await self._tasks.cancel()

    async def _note_quietly(self, key: str) -> None:
        try:
            written = await self._written(key)
            if written is None or datetime.now(UTC) - written >= _WRITTEN_AGAIN:
                await self._bucket.put(_key(key), b"1", lifetime=_LIFETIME)
            self._remember(key)
        except SpoolError as error:
            log.debug("a login is not noted", error=str(error))
        finally:
            self._noting.discard(key)

    async def _written(self, key: str) -> datetime | None:
        """Return when a note was written, by the server's clock; None when there is none."""
        message = await self._bucket.get(_key(key))
        return None if message is None or is_deletion(message) else message.stored_at

    def _remember(self, key: str) -> None:
        self._recent[key] = _time()
        self._recent.move_to_end(key)
        if len(self._recent) > _KNOWN_KEYS:
            self._recent.popitem(last=False)


def _key(key: str) -> str:
    return f"login.{key}"


def _time() -> float:
    return asyncio.get_running_loop().time()
