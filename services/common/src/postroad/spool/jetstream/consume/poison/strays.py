"""
Holds new mail that no consumer takes, as unreadable.

A consumer takes a lane of a pool. Who may publish new mail chooses its subject, and an earlier
build stored whatever was chosen. What lies where no consumer looks would stay for good: neither a
listing nor an order can end it, and enough of it fills the storage. No release of Postroad writes
such mail, but it is not dropped either.

The delivery process that looks for pools (`consume.sweeps.unserved`) looks for it. It reads such
mail without a consumer and deletes it by its sequence, since no filter can name some of its
subjects: a token may be `*`, or no UTF-8. It stores the held copy first. If the process is
killed between the two, the copy takes its own place again. The intake of a queue that an earlier
build made denies every deletion, for good; there such mail stays, and the log says so.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from postroad.spool.errors import SpoolError, SpoolUnavailable
from postroad.spool.interface import HOLD_LIMIT
from postroad.spool.jetstream.consume.leased import ConsumerContext
from postroad.spool.jetstream.consume.poison.suspects import (
    UNREADABLE,
    held_event,
    put_on_hold,
    unreadable,
)
from postroad.spool.jetstream.nats.direct_get import StoredMessage, pages
from postroad.spool.jetstream.streams.subjects import is_plain, may_be_taken, stream_name
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.lanes.lane import lane_names
from postroad.spool.lanes.owners import finder
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_SPACING = 20  # a listing takes at most a twentieth of the servers' time, as in `unserved`
_FEW = 100  # so many subjects are read one by one; for more of them all new mail is read
_PAGES = 20  # of all new mail in a shard, at each look
_TIMEOUT = timedelta(seconds=15)


class Strays:
    """Looks for new mail that no consumer takes, while this process has to."""

    def __init__(self, tools: ConsumerContext, *, every: timedelta) -> None:
        self._tools = tools
        self._membership = tools.membership
        self._lanes = frozenset(lane_names(tools.layout.lanes))
        self._every = every.total_seconds()
        self._may_delete: dict[int, bool] = {}
        self._read: dict[int, int] = {}  # the sequence up to which a shard's new mail was read
        self._held: list[Callable[[str], None]] = []

    def on_held(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the reason for each record that is held."""
        self._held.append(listener)

    async def keep(self) -> None:
        """Look again and again while this process has to, until cancelled."""
        while True:
            if finder(self._membership.seen) == self._membership.session_id:
                await asyncio.sleep(await self._look())
            else:
                await self._membership.changed()

    async def _look(self) -> float:
        """Hold what is found in each shard, and return the seconds until the next look."""
        loop = asyncio.get_running_loop()
        took = 0.0
        for shard in range(self._tools.layout.shards):
            began = loop.time()
            try:
                found = await self._tools.waiting.new_subjects(shard)
            except SpoolError as error:
                log.debug("mail that no consumer takes was not looked for", error=str(error))
                continue
            took += loop.time() - began
            try:
                await self._hold_strays(shard, found)
            except SpoolError as error:
                log.warning("mail that no consumer takes is left for now", error=str(error))
        return max(self._every, _SPACING * took)

    async def _hold_strays(self, shard: int, found: Mapping[str, int]) -> None:
        strays = [subject for subject in found if not self._may_be_taken(subject)]
        if not strays:
            self._read.pop(shard, None)
        elif not await self._is_deletable(shard):
            return
        elif len(strays) <= _FEW and all(map(_is_literal, strays)):
            for subject in strays:
                async for page in pages(self._tools.link, _intake(shard), subject):
                    for message in page.messages:
                        await self._hold(shard, message)
        else:
            await self._read_on(shard)

    async def _read_on(self, shard: int) -> None:
        """Read some pages of all new mail, from where the last look ended."""
        after, left = self._read.pop(shard, 0), _PAGES
        async for page in pages(self._tools.link, _intake(shard), f"pr.i.{shard}.>", after=after):
            for message in page.messages:
                if not self._may_be_taken(message.subject):
                    await self._hold(shard, message)
            left -= 1
            if not left and page.pending:
                self._read[shard] = page.messages[-1].sequence
                return

    async def _is_deletable(self, shard: int) -> bool:
        """Whether the intake of a shard admits deletions; ask once."""
        if shard not in self._may_delete:
            said = await self._tools.requests.ask_api(f"STREAM.INFO.{_intake(shard)}", {})
            if "error" in said:
                raise SpoolUnavailable(f"no stream: {said['error'].get('description')}")
            self._may_delete[shard] = not said["config"].get("deny_delete")
            if not self._may_delete[shard]:
                log.error("new mail lies where no consumer takes it, and cannot be deleted")
        return self._may_delete[shard]

    def _may_be_taken(self, subject: str) -> bool:
        return may_be_taken(subject, self._lanes)

    async def _hold(self, shard: int, message: StoredMessage) -> None:
        """Store a held copy of a message, then delete the message. Raises SpoolError."""
        tools, now = self._tools, datetime.now(UTC)
        key = Key(QueueStream.INTAKE, shard, message.sequence)
        record = unreadable(message.subject, key, message.data, now=message.stored_at)
        put = put_on_hold(record, UNREADABLE, now)
        slim = await tools.blobs.moved_out(put.record, shard, lifetime=HOLD_LIMIT)
        await tools.publisher.publish([replace(put, record=slim)], timeout=_TIMEOUT, origin=key)
        await self._delete(key)
        log.error(
            "new mail lay where no consumer takes it, and is held",
            queue_id=record.record_id.queue_id,
            record_id=str(record.record_id),
            reason=UNREADABLE,
        )
        for listener in self._held:
            listener(UNREADABLE)
        tools.events.add(held_event(record, UNREADABLE, now, tools.membership.process))

    async def _delete(self, key: Key) -> None:
        what = f"STREAM.MSG.DELETE.{_intake(key.shard)}"
        query = {"seq": key.sequence, "no_erase": True}
        said = await self._tools.requests.ask_api(what, query)
        if "error" in said:
            raise SpoolUnavailable(f"not deleted: {said['error'].get('description')}")


def _is_literal(subject: str) -> bool:
    """Whether a subject, as the servers list it, names itself and nothing else."""
    return is_plain(subject) and not {"*", ">"} & set(subject.split("."))


def _intake(shard: int) -> str:
    return stream_name(QueueStream.INTAKE, shard)
