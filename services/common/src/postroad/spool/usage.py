"""
Quota usage in KV `quotas`: slices leased by compare and set, exact however many take at once.

A key holds what is leased or spent in its window, and when the window ends. Every change names the
revision it was made from, so two processes never spend the same allowance; of what a process
crashes with, at most its slice is wasted. A change whose acknowledgement is lost is looked up by
its name; one that cannot be told any more counts as not granted: too little is the safe side.
"""

import asyncio
import hashlib
import random
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

from postroad.spool.bucket import Bucket, Outdated, is_deletion, text_of, token
from postroad.spool.direct_get import StoredMessage
from postroad.spool.errors import SpoolUnavailable

# Longer than the clocks of a cluster differ: were a key gone while a slow clock is still in the
# window, the whole allowance would be granted a second time.
_AFTER_WINDOW = timedelta(minutes=5)
_PATIENCE = timedelta(seconds=5)
_KNOWN_KEYS = 4096
_LONGEST_TOKEN = 200
_DIGEST = "sha256="  # how the token of a longer key begins; `=` and two digits is an octet
_NAME = "Postroad-Change"  # a random name of the change that made a revision


@dataclass(frozen=True, slots=True)
class _Tally:
    """What a key holds at a revision; revision 0 is a key nobody has taken from."""

    revision: int
    used: int
    expires: datetime
    made_by: str = ""


class JetStreamUsage:
    """Implements agreement.Usage. Raises SpoolUnavailable when the bucket stays away for 5 s."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._known: OrderedDict[str, _Tally] = OrderedDict()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def lease(self, key: str, *, amount: int, maximum: int, expires: datetime) -> int:
        """Take up to `amount` of what `maximum` leaves under `key`; return what was granted."""

        def take(used: int) -> int:
            return used + max(0, min(amount, maximum - used))

        before, after = await self._change(key, take, expires)
        return after - before

    async def give_back(self, key: str, amount: int) -> None:
        """Return what was leased and not spent; nothing to do once the window is over."""
        await self._change(key, lambda used: max(0, used - amount), None)

    async def used(self, key: str) -> int:
        """Return what is leased or spent under a key."""
        return (await self._read(_encoded(key))).used

    async def all(self) -> AsyncIterator[tuple[str, int]]:
        """Yield each key with what is leased or spent under it; very long keys are left out."""
        after, pending = 0, 1
        while pending:
            page = await self._bucket.changes("*", after=after)
            for message in page.messages:
                after = message.sequence
                encoded = self._bucket.key_of(message)
                if not is_deletion(message) and not _is_digest(encoded):
                    yield text_of(encoded), _tally(message).used
            pending = page.pending if page.messages else 0

    async def _change(
        self, key: str, change: Callable[[int], int], expires: datetime | None
    ) -> tuple[int, int]:
        """Change a tally and return what was used before and after."""
        encoded = _encoded(key)
        # Within a process changes of one key go one by one: they would only undo each other.
        turn = self._turns.setdefault(encoded, asyncio.Lock())
        async with turn:
            deadline = asyncio.get_running_loop().time() + _PATIENCE.total_seconds()
            known = self._known.pop(encoded, None)
            tally = known or await self._read(encoded)
            fresh = known is None
            while True:
                wanted = change(tally.used)
                if wanted != tally.used:
                    written = await self._write(encoded, tally, wanted, expires)
                    if written is not None:
                        self._remember(encoded, written)
                        return tally.used, wanted
                    if asyncio.get_running_loop().time() > deadline:
                        raise SpoolUnavailable(f"the usage of {key} cannot be changed in time")
                    await asyncio.sleep(random.uniform(0, 0.01))
                elif fresh:
                    return tally.used, tally.used
                tally, fresh = await self._read(encoded), True

    async def _write(
        self, encoded: str, tally: _Tally, used: int, expires: datetime | None
    ) -> _Tally | None:
        """Make the next revision of a tally; None when another was made meanwhile."""
        end = expires or tally.expires
        name = secrets.token_hex(8)
        lifetime = end - datetime.now(UTC) + _AFTER_WINDOW
        value = f"{used} {end.isoformat()}".encode()
        try:
            revision = await self._bucket.put(
                encoded, value, expected=tally.revision, lifetime=lifetime, headers={_NAME: name}
            )
        except Outdated:
            return None
        except SpoolUnavailable:
            now = await self._read(encoded)
            return now if now.made_by == name else None
        return _Tally(revision, used, end, name)

    async def _read(self, encoded: str) -> _Tally:
        return _tally(await self._bucket.get(encoded))

    def _remember(self, encoded: str, tally: _Tally) -> None:
        self._known[encoded] = tally
        if len(self._known) > _KNOWN_KEYS:
            self._known.popitem(last=False)


def _tally(message: StoredMessage | None) -> _Tally:
    if message is None:
        return _Tally(0, 0, datetime.now(UTC))
    if is_deletion(message):
        return _Tally(message.sequence, 0, datetime.now(UTC))
    used, _, expires = message.data.decode().partition(" ")
    return _Tally(
        message.sequence,
        int(used),
        datetime.fromisoformat(expires),
        message.headers.get(_NAME, ""),
    )


def _is_digest(encoded: str) -> bool:
    # A key of that beginning has dots further on, which are encoded.
    return encoded.startswith(_DIGEST) and "=" not in encoded.removeprefix(_DIGEST)


def _encoded(key: str) -> str:
    """Return a key's token; a very long one (a sender's address is in it) becomes its digest."""
    encoded = token(key)
    if len(encoded) <= _LONGEST_TOKEN:
        return encoded
    return _DIGEST + hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
