"""
The use of quotas in KV `quotas`: slices leased by compare-and-set, exact for the whole cluster.

A key holds the amount that is leased or spent in its window, and when it expires. Every change
expects the revision that it was made from, so two processes never lease the same amount. If a
process crashes, at most its slices are lost. If the acknowledgement of a change is lost, the change
is looked up by its random name. If it was overwritten already, a lease counts as not granted and a
return as made, since granting too little is the safe side.

A header has the time of the last lease that may be given back. Until that is long ago, it is not
certain that a window is used up.

Whoever may count can compute the keys of all windows to come, and may leave out an expiry. So what
was stored before its window, by the servers' clock, is no count, and the next one to count replaces
it. The stored expiry is for the servers, and no reader goes by it: an intruder would state the
right one, and another release may state a later one.
"""

import asyncio
import contextlib
import hashlib
import random
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.nats.direct_get import StoredMessage
from postroad.spool.jetstream.nats.key_value import Bucket, Outdated, is_deletion, text_of, token

# Longer than the clocks of a cluster differ: if a key expired while a slow clock is still in the
# window, the whole quota would be granted a second time.
_AFTER_WINDOW = timedelta(minutes=5)
_PATIENCE = timedelta(seconds=5)
_KNOWN_KEYS = 4096
_LONGEST_TOKEN = 200
_DIGEST = "sha256="  # begins the token of a longer key; otherwise `=` precedes an octet's digits
_NAME = "Postroad-Change"  # the random name of the change that made a revision
_NOT_FINAL = "Postroad-Not-Final"  # when an amount was last leased that may be given back
_MOST = 2**63  # no Quota allows more, and no status can show it


@dataclass(frozen=True, slots=True)
class _Tally:
    """What a key holds at a revision; revision 0 means that there is no key."""

    revision: int
    used: int
    expires: datetime
    made_by: str = ""
    not_final: datetime | None = None


class JetStreamQuotaCounters:
    """Implements agreement.QuotaCounters. Raises SpoolUnavailable after 5 s without the bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._known: OrderedDict[str, _Tally] = OrderedDict()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def lease(
        self,
        key: str,
        *,
        amount: int,
        maximum: int,
        since: datetime,
        expires: datetime,
        needed: int = 0,
        final: bool = True,
    ) -> int:
        """Lease up to `amount` of what is left, `needed` at least; return what was granted."""

        def take(tally: _Tally) -> _Tally:
            granted = max(0, min(amount, maximum - tally.used))
            if not granted or granted < needed:
                return tally
            last = tally.not_final if final else datetime.now(UTC)
            return replace(tally, used=tally.used + granted, expires=expires, not_final=last)

        before, after = await self._change(key, take, since)
        return after - before

    async def give_back(self, key: str, amount: int, *, since: datetime) -> None:
        """
        Give back an amount that was leased and not spent; not needed once the window is over.

        After SpoolUnavailable it may have been given back: do not retry.
        """
        await self._change(
            key, lambda tally: replace(tally, used=max(0, tally.used - amount)), since
        )

    async def spent(
        self, key: str, *, amount: int, maximum: int, since: datetime, quiet: timedelta
    ) -> bool:
        """Whether too little is left, and nothing will be given back."""
        tally = await self._read(_encoded(key), since)
        last = tally.not_final
        is_quiet = last is None or datetime.now(UTC) - last >= quiet
        return is_quiet and tally.used + amount > maximum

    async def used(self, key: str, *, since: datetime) -> int:
        """Return what is leased or spent under a key."""
        return (await self._read(_encoded(key), since)).used

    async def all(self, since: Callable[[str], datetime | None]) -> AsyncIterator[tuple[str, int]]:
        """
        Yield each key with what is leased or spent under it.

        Very long keys, and what no process of ours wrote, are left out.
        """
        after, pending = 0, 1
        while pending:
            page = await self._bucket.changes("*", after=after)
            for message in page.messages:
                after = message.sequence
                encoded = self._bucket.key_of(message)
                if is_deletion(message) or _is_digest(encoded):
                    continue
                with contextlib.suppress(ValueError):  # a key that no process of ours wrote
                    key = text_of(encoded)
                    begin = since(key)
                    if begin is not None:
                        yield key, _parsed(message, begin).used
            pending = page.pending if page.messages else 0

    async def _change(
        self, key: str, change: Callable[[_Tally], _Tally], since: datetime
    ) -> tuple[int, int]:
        """Change a tally and return the used amount before and after."""
        encoded = _encoded(key)
        # One change of a key at a time within a process: they would only conflict.
        turn = self._turns.setdefault(encoded, asyncio.Lock())
        async with turn:
            deadline = asyncio.get_running_loop().time() + _PATIENCE.total_seconds()
            known = self._known.pop(encoded, None)
            tally = known or await self._read(encoded, since)
            fresh = known is None
            while True:
                wanted = change(tally)
                if wanted.used != tally.used:
                    written = await self._write(encoded, tally, wanted, since)
                    if written is not None:
                        self._remember(encoded, written)
                        return tally.used, wanted.used
                    if asyncio.get_running_loop().time() > deadline:
                        raise SpoolUnavailable(f"the usage of {key} cannot be changed in time")
                    await asyncio.sleep(random.uniform(0, 0.01))
                elif fresh:
                    return tally.used, tally.used
                tally, fresh = await self._read(encoded, since), True

    async def _write(
        self, encoded: str, tally: _Tally, wanted: _Tally, since: datetime
    ) -> _Tally | None:
        """Write the next revision of a tally; None when there was a conflict."""
        name = secrets.token_hex(8)
        headers = {_NAME: name}
        if wanted.not_final is not None:
            headers[_NOT_FINAL] = wanted.not_final.isoformat()
        lifetime = wanted.expires - datetime.now(UTC) + _AFTER_WINDOW
        value = f"{wanted.used} {wanted.expires.isoformat()}".encode()
        try:
            revision = await self._bucket.put(
                encoded, value, expected=tally.revision, lifetime=lifetime, headers=headers
            )
        except Outdated:
            return None
        except SpoolUnavailable:
            now = await self._read(encoded, since)
            if now.made_by != name and wanted.used < tally.used:
                raise  # it may have been given back: a second time would exceed the limit
            return now if now.made_by == name else None
        return replace(wanted, revision=revision, made_by=name)

    async def _read(self, encoded: str, since: datetime) -> _Tally:
        return _tally(await self._bucket.get(encoded), since)

    def _remember(self, encoded: str, tally: _Tally) -> None:
        self._known[encoded] = tally
        if len(self._known) > _KNOWN_KEYS:
            self._known.popitem(last=False)


def _tally(message: StoredMessage | None, since: datetime) -> _Tally:
    if message is None:
        return _Tally(0, 0, datetime.now(UTC))
    if is_deletion(message):
        return _Tally(message.sequence, 0, datetime.now(UTC))
    try:
        return _parsed(message, since)
    except ValueError:
        # No process of ours wrote it. The next one to count replaces it, else it would never end.
        return _Tally(message.sequence, 0, datetime.now(UTC))


def _parsed(message: StoredMessage, since: datetime) -> _Tally:
    """Return a stored tally; ValueError if it is none."""
    if message.stored_at < since:
        raise ValueError("stored before its window")
    number, _, expires = message.data.decode().partition(" ")
    used = int(number)
    if not 0 <= used < _MOST:
        raise ValueError("an amount that nobody can have used")
    last = message.headers.get(_NOT_FINAL)
    return _Tally(
        message.sequence,
        used,
        _moment(expires),
        message.headers.get(_NAME, ""),
        _moment(last) if last else None,
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without an offset")
    return moment


def _is_digest(encoded: str) -> bool:
    # A plain key that begins like this has dots later on, which are encoded with "=".
    return encoded.startswith(_DIGEST) and "=" not in encoded.removeprefix(_DIGEST)


def _encoded(key: str) -> str:
    """Return a key's token; for a very long key (it may have an address) that is a digest."""
    encoded = token(key)
    if len(encoded) <= _LONGEST_TOKEN:
        return encoded
    return _DIGEST + hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
