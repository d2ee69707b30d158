"""
Knows which streams of bodies there are, because a record may name a body in any.

Who accepts mail chooses the shard of a body. A body of a stream that there is not can neither be
read nor deleted, and no error of the queue says so: a stream without a leader answers the same. So
the layout tells, and for bodies of an earlier release the servers' own answer. The number of shards
may grow while this process runs. So for a stream that it does not know, it looks again.
"""

import asyncio
import math

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.nats.leader_get import ask_leader
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.streams.provision import LAYOUT_KEY
from postroad.spool.jetstream.streams.subjects import body_stream
from postroad.spool.lanes.layout import Layout
from postroad.spool.record import BlobRef, QueueRecord

_NOT_FOUND = 404


class BodyStreams:
    """The streams of bodies, as this process saw them last."""

    def __init__(self, requests: Requests, layout: Layout) -> None:
        self._requests = requests
        self._shards = layout.shards
        self._former: set[int] = set()  # shards with bodies of an earlier release
        self._looking = asyncio.Lock()
        self._looked: dict[str, float] = {}  # when the last look began, by stream; "": layout

    def know(self, record: QueueRecord) -> bool:
        """Whether a record has no body of its own stream, or one that is known."""
        body = record.content
        if not isinstance(body, BlobRef):
            return True
        return body.shard in self._former if body.former else body.shard < self._shards

    async def look_for(self, record: QueueRecord) -> bool:
        """Whether the stream of a record's body exists now; SpoolUnavailable without an answer."""
        body = record.content
        if self.know(record) or not isinstance(body, BlobRef):
            return True
        if body.former and body.shard >= self._shards:
            return False  # there are no new shards of that kind
        what = body_stream(body.shard, former=True) if body.former else ""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        async with self._looking:
            if self._looked.get(what, -math.inf) < asked:  # one look answers all who wait for it
                began = loop.time()
                await (self._look_at(body.shard, what) if what else self._look_at_layout())
                self._looked[what] = began
        return self.know(record)

    async def _look_at_layout(self) -> None:
        subject = f"$KV.cluster.{LAYOUT_KEY}"
        found = await ask_leader(self._requests, "KV_cluster", {"last_by_subj": subject})
        if found is None:
            raise SpoolUnavailable("the layout of the queue is not there")
        self._shards = Layout.decode(found.data).shards

    async def _look_at(self, shard: int, name: str) -> None:
        said = await self._requests.ask_api(f"STREAM.INFO.{name}", {})
        if "error" not in said:
            self._former.add(shard)
        elif said["error"].get("code") != _NOT_FOUND:
            raise SpoolUnavailable(f"{name} answers {said['error'].get('description')}")
