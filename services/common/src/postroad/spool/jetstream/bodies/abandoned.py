"""
Deletes unfinished bodies of processes that were killed.

A process deletes the chunks of a body that it gives up. A killed process cannot, and the chunks'
time to live is as long as mail may live. So one process of the pool `default`, the one that also
looks for pools, looks for such bodies. It checks each body once after an hour: the last message
tells whether the body is complete. If it is not, and that message is an hour old, nobody is writing
it.

If a process is still writing it after all, no mail is lost. The deletion is stored only directly
after that message, and the writer's last chunk only directly after the chunk before it. So one of
the two is refused.
"""

import asyncio
from datetime import UTC, datetime, timedelta

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.errors import ClaimLost, SpoolError
from postroad.spool.jetstream.bodies.writer import MORE, clear_subject
from postroad.spool.jetstream.cluster.sessions.membership import Membership
from postroad.spool.jetstream.counting import count_subjects
from postroad.spool.jetstream.nats.leader_get import ask_leader
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.streams.subjects import blob_stream
from postroad.spool.lanes.assignment import finder
from postroad.spool.lanes.layout import Layout
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_LOOKS = 6  # searches within the time after which a body counts as abandoned
_WHOLE = float("inf")


class AbandonedBodies:
    """Looks for unfinished bodies that nobody writes any more."""

    def __init__(
        self, requests: Requests, membership: Membership, layout: Layout, *, after: timedelta
    ) -> None:
        self._requests = requests
        self._membership = membership
        self._layout = layout
        self._after = after
        self._seen: dict[str, float] = {}  # body's subject: the loop's time when first seen
        self._tasks = BackgroundTasks(INTERNAL_ERRORS)

    def start(self) -> None:
        """Begin to look, whenever this process is the one that has to."""
        self._tasks.keep(self._keep)

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
                log.debug("the search for unfinished bodies failed", error=str(error))

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
            log.info("unfinished content of a killed process was deleted", count=deleted)

    async def _judge(self, stream: str, subject: str) -> bool:
        """Delete a body if it is abandoned; return whether it was."""
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
            return False  # somebody is writing it after all
        return True
