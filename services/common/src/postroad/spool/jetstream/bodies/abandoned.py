"""
Deleting what a killed process had stored of bodies that it can finish no more.

A process deletes what it gives up. One that is killed cannot, and a chunk's time to live was set as
it was stored, for the life of the mail. So one process of `default`, the one that looks for pools,
looks for bodies as well. A body that is there for an hour is looked at once: its last message tells
whether it is whole. If it is not, and that message is an hour old, nobody is writing it.

Should somebody write it after all, mail is not lost: the deletion is taken only behind that
message, and the writer's last chunk only behind the one before it. One of the two is refused.
"""

import asyncio
from datetime import UTC, datetime, timedelta

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.errors import ClaimLost, SpoolError
from postroad.spool.jetstream.bodies.writer import MORE, clear_subject
from postroad.spool.jetstream.cluster.membership import Membership
from postroad.spool.jetstream.counting import count_subjects
from postroad.spool.jetstream.nats.leader_get import ask_leader
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.streams.subjects import blob_stream
from postroad.spool.lanes.assignment import finder
from postroad.spool.lanes.layout import Layout
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_LOOKS = 6  # in the time after which a body is left behind
_WHOLE = float("inf")


class AbandonedBodies:
    """Looks for bodies that are not finished, nor ever will be."""

    def __init__(
        self, requests: Requests, membership: Membership, layout: Layout, *, after: timedelta
    ) -> None:
        self._requests = requests
        self._membership = membership
        self._layout = layout
        self._after = after
        self._seen: dict[str, float] = {}  # since when, by the loop's time, for each body
        self._tasks = BackgroundTasks(INTERNAL_ERRORS)

    def start(self) -> None:
        """Look from now on, while it is this process's turn."""
        self._tasks.spawn(self._keep())

    async def close(self) -> None:
        """Stop looking."""
        await self._tasks.cancel()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._after.total_seconds() / _LOOKS)
            if finder(self._membership.seen) != self._membership.session_id:
                self._seen.clear()
                continue
            try:
                await self._look()
            except SpoolError as error:
                log.debug("unfinished bodies could not be looked for", error=str(error))

    async def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        there: dict[str, str] = {}
        for shard in range(self._layout.shards):
            stream = blob_stream(shard)
            found, _ = await count_subjects(self._requests, stream, f"pr.b.{shard}.*")
            there.update(dict.fromkeys(found, stream))
        self._seen = {subject: self._seen.get(subject, now) for subject in there}
        old = now - self._after.total_seconds()
        deleted = 0
        for subject in [each for each, since in self._seen.items() if since <= old]:
            deleted += await self._judge(there[subject], subject)
        if deleted:
            log.info("content was deleted that a killed process had not finished", count=deleted)

    async def _judge(self, stream: str, subject: str) -> bool:
        """Delete a body that is left behind; whether it was."""
        last = await ask_leader(self._requests, stream, {"last_by_subj": subject})
        if last is None:
            return False
        if MORE not in last.headers:
            self._seen[subject] = _WHOLE
            return False
        if datetime.now(UTC) - last.stored_at < self._after:
            return False
        try:
            await clear_subject(self._requests, subject, after=last.sequence)
        except ClaimLost:
            return False  # it is written after all
        return True
