"""
Deletes unfinished bodies of processes that were killed.

A process deletes the chunks of a body that it gives up. A killed process cannot, and the chunks'
time to live is as long as mail may live. So one process of the pool `default`, the one that also
looks for pools, looks for such bodies. The subjects of the chunks tell which bodies have no last
chunk. If no chunk of such a body has come for an hour, nobody is writing it.

If a process is still writing it after all, no mail is lost. Before the chunks are deleted, an empty
message takes the place of the last one, for longer than content may take to arrive. It is stored
only if nothing is there, and so is the writer's last chunk. So one of the two is refused.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.errors import ClaimLost, SpoolError
from postroad.spool.jetstream.bodies.deletion import clear_subjects
from postroad.spool.jetstream.bodies.lifetime import time_to_live
from postroad.spool.jetstream.bodies.until_taken import UntilTaken
from postroad.spool.jetstream.cluster.sessions.membership import Membership
from postroad.spool.jetstream.counting import count_subjects
from postroad.spool.jetstream.nats.pub_ack import check_ack
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.streams.subjects import ENDED, LAST, body_stream
from postroad.spool.lanes.layout import Layout
from postroad.spool.lanes.owners import finder
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_LOOKS = 6  # searches within the time after which a body counts as abandoned
_TIMEOUT = 2.0  # seconds for one answer
_PLACE_TAKEN = int(time_to_live(timedelta(0)).total_seconds())


@dataclass(frozen=True, slots=True)
class Sighting:
    """The subjects that an unfinished body has, and since when it has had just these."""

    subjects: frozenset[str]
    since: float  # by the loop's clock


def unfinished(subjects: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return the subjects of each body without a last chunk, by what they begin with."""
    bodies: dict[str, set[str]] = {}
    for subject in subjects:
        bodies.setdefault(subject.rpartition(".")[0], set()).add(subject)
    return {
        body: frozenset(found) for body, found in bodies.items() if f"{body}.{LAST}" not in found
    }


def sightings(
    before: Mapping[str, Sighting], found: Mapping[str, frozenset[str]], now: float
) -> dict[str, Sighting]:
    """Return the unfinished bodies that are there now; one with a new chunk counts as new."""
    new = {body: Sighting(subjects, now) for body, subjects in found.items()}
    former = {body: before[body] for body in before.keys() & found.keys()}
    return new | {body: each for body, each in former.items() if each.subjects == found[body]}


class AbandonedBodies:
    """Looks for unfinished bodies that nobody writes any more."""

    def __init__(
        self,
        requests: Requests,
        membership: Membership,
        layout: Layout,
        *,
        after: timedelta,
        retry: timedelta,
    ) -> None:
        self._requests = requests
        self._membership = membership
        self._layout = layout
        self._after = after
        self._seen: dict[str, Sighting] = {}  # by what a body's subjects begin with
        self._deletions: UntilTaken[frozenset[str]] = UntilTaken(self._delete, every=retry)
        self._tasks = BackgroundTasks(INTERNAL_ERRORS)

    def start(self) -> None:
        """Begin to look, whenever this process is the one that has to."""
        self._tasks.keep(self._keep)

    async def close(self) -> None:
        """Stop looking."""
        await self._tasks.cancel()
        await self._deletions.close()

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
        there: dict[str, frozenset[str]] = {}
        for shard in range(self._layout.shards):
            found, _ = await count_subjects(self._requests, body_stream(shard), f"pr.d.{shard}.*.*")
            there.update(unfinished(found))
        self._seen = sightings(self._seen, there, now)
        old = now - self._after.total_seconds()
        deleted = 0
        for body, sighting in self._seen.items():
            deleted += sighting.since <= old and await self._take_over(body, sighting.subjects)
        if deleted:
            log.info("unfinished content of a killed process was deleted", count=deleted)

    async def _take_over(self, body: str, subjects: frozenset[str]) -> bool:
        """Delete an unfinished body; False if its writer was faster."""
        if subjects != {f"{body}.{ENDED}"}:  # else it was finished once, and nobody writes it
            headers = {
                "Nats-TTL": f"{_PLACE_TAKEN}s",
                "Nats-Expected-Last-Subject-Sequence": "0",
            }
            subject = f"{body}.{LAST}"
            try:
                check_ack(
                    await self._requests.send(subject, b"", headers=headers, timeout=_TIMEOUT)
                )
            except ClaimLost:
                return False
        await self._deletions.try_now(body, subjects)
        return True

    async def _delete(self, subjects: frozenset[str]) -> None:
        await clear_subjects(self._requests, sorted(subjects))
