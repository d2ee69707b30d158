"""
Recognises mail that has ended and comes back because nats-server was killed.

nats-server keeps a stream in blocks of 4 MB, and notes each deletion in the block that it writes
to. It makes no note when a block's last message is deleted, because it removes the block. But it
keeps a block with notes about older blocks, until it cleans up, every two minutes. If it is killed
before that, the last message of such a block is in the stream again.

A deferred record that comes back becomes ready when it is due, often at once. Most retries are due
within an hour, so those that become ready later are not looked at.

The history of mail says which recipients have ended. So after a restart of the servers, the part of
the history from shortly before it is read once, and these recipients are not tried again. A process
without the permission to read the history, or without an answer, delivers such mail twice.
"""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from postroad.spool.errors import RecordCorrupt, SpoolUnavailable
from postroad.spool.event import EventType
from postroad.spool.jetstream.cluster.event_log import STREAM, SUBJECT
from postroad.spool.jetstream.nats.direct_get import Link, StoredMessage, last_on, page
from postroad.spool.record import QueueRecord, RecipientState
from postroad.spool.wire.event import recipients_in
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

Ended = dict[str, dict[str, RecipientState]]  # by record id and mailbox

ENDS = {
    EventType.DELIVERY: RecipientState.DELIVERED,
    EventType.BOUNCE: RecipientState.BOUNCED,
    EventType.EXPIRATION: RecipientState.BOUNCED,
    EventType.ADMIN_BOUNCE: RecipientState.BOUNCED,
    EventType.ADMIN_DELETE: RecipientState.BOUNCED,
}
_UNCLEANED = timedelta(minutes=3)  # how long a block may stay as it is, and some more
# The lanes' consumers are made within this time after a restart.
_STARTING = timedelta(minutes=1)
_KEPT = timedelta(hours=1)
_KEPT_SECONDS = _KEPT.total_seconds()
_MINUTE = 60 * 10**9  # nanoseconds
PATIENCE = timedelta(seconds=30)  # with servers that do not answer yet
_TOGETHER = 16  # messages of up to 1024 events


def without_ended(record: QueueRecord, ended: dict[str, RecipientState]) -> QueueRecord | None:
    """Return the record without its recipients that have ended as pending, None if all have."""
    if not any(str(each.mailbox) in ended for each in record.pending):
        return record
    recipients = tuple(
        replace(each, state=ended.get(str(each.mailbox), each.state))
        if each.state is RecipientState.PENDING
        else each
        for each in record.recipients
    )
    left = replace(record, recipients=recipients, resume_from=0)
    return left if left.pending else None


class EndedMail:
    """What the history says about mail that ended shortly before the servers were restarted."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._reading = asyncio.Lock()
        self._read: dict[int, Ended] = {}  # by the minute of the restart
        self._failed: dict[int, float] = {}  # loop time of the first failure, likewise

    def may_name(self, record: QueueRecord, restart: int) -> bool:
        """Whether `left_of` may know of a deferred record that became ready after a restart."""
        if datetime.now(UTC).timestamp() - restart / 1e9 > _KEPT_SECONDS:
            return False
        ended = self._read.get(restart // _MINUTE)
        return ended is None or str(record.record_id) in ended

    async def left_of(self, record: QueueRecord, restart: int) -> QueueRecord | None:
        """
        Return a record of before a restart, without recipients that have ended; None if all have.

        `restart` is when the servers made the consumer that brought the record, in nanoseconds by
        their clock.
        """
        minute = restart // _MINUTE
        async with self._reading:
            if minute not in self._read:
                self._read[minute] = await self._read_patiently(minute, restart)
                asyncio.get_running_loop().call_later(
                    _KEPT.total_seconds(), self._read.pop, minute, None
                )
        return without_ended(record, self._read[minute].get(str(record.record_id), {}))

    async def _read_patiently(self, minute: int, restart: int) -> Ended:
        """Read the history; SpoolUnavailable for the first `PATIENCE` in which that fails."""
        now = asyncio.get_running_loop().time()
        try:
            return await self._read_before(datetime.fromtimestamp(restart / 1e9, UTC))
        except SpoolUnavailable as error:
            if now - self._failed.setdefault(minute, now) < PATIENCE.total_seconds():
                raise  # the servers may still be starting
            log.warning(
                "the history cannot be read: mail that ended may be sent again", error=str(error)
            )
            return {}

    async def _read_before(self, restart: datetime) -> Ended:
        since = await self._last_event(restart - _STARTING) - _UNCLEANED
        return await read_ends(self._link, since, restart + _STARTING)

    async def _last_event(self, before: datetime) -> datetime:
        """Return when the last event before a moment was stored: the servers ran at that time."""
        found = await page(self._link, STREAM, f"{SUBJECT}>", since=before, messages=1)
        if found.messages:
            after = max(0, found.messages[0].sequence - 2)
            found = await page(self._link, STREAM, f"{SUBJECT}>", after=after, messages=1)
            return min([before, *(each.stored_at for each in found.messages)])
        return await last_end(self._link) or before


async def last_end(link: Link) -> datetime | None:
    """Return when the last end was stored; None if the history has none. SpoolUnavailable."""
    last = [await last_on(link, STREAM, f"{SUBJECT}{kind}") for kind in ENDS]
    return max((each.stored_at for each in last if each), default=None)


async def read_ends(
    link: Link, since: datetime, until: datetime | None, only: Collection[str] | None = None
) -> Ended:
    """
    Return what ended in a time by the servers' clock, until now without `until`.

    With `only`, those of records with these ids. Raises SpoolUnavailable.
    """
    found: Ended = {}
    for kind, state in ENDS.items():
        after, subject = 0, f"{SUBJECT}{kind}"
        while True:
            told = await page(link, STREAM, subject, after=after, since=since, messages=_TOGETHER)
            for message in told.messages:
                after = message.sequence
                for record_id, recipients in _recipients(message):
                    if only is None or record_id in only:
                        found.setdefault(record_id, {}).update(dict.fromkeys(recipients, state))
            if not (told.messages and told.pending):
                break
            if until is not None and told.messages[-1].stored_at > until:
                break
    return found


def _recipients(message: StoredMessage) -> Collection[tuple[str, tuple[str, ...]]]:
    try:
        return recipients_in(message.data)
    except RecordCorrupt:
        return ()
