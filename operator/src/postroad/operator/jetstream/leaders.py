"""
Spreads the leaders of the queue's streams over the NATS servers.

A stream is written through its leader, so a server that leads all shards does all the work, and its
death stops all of them. After a rolling restart that is how it stands: whoever was there first
leads. When every copy of every stream is up to date, one stream's leader that leads more than its
share hands over to the server that leads least. One at a time: a shard takes no mail for a moment
while it does.
"""

import asyncio
import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from postroad.operator import metrics
from postroad.operator.jetstream.api import JetStreamApi, asking
from postroad.spool.errors import SpoolError
from postroad.spool.jetstream.spool import SpoolOptions
from postroad.spool.jetstream.streams.subjects import blob_stream, queue_stream
from postroad.spool.lanes.layout import Layout
from postroad.telemetry.logs import get_logger

EVERY = timedelta(seconds=15)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Led:
    """A stream, the server that leads it, and those that follow and are up to date."""

    stream: str
    leader: str
    followers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HandOver:
    """A stream whose leader should step down, and who should lead it then."""

    stream: str
    to: str


def hand_over(group: Sequence[Led]) -> HandOver | None:
    """
    Return what would make the leading of a group of streams more even, None when it is even.

    A server's share is the number of streams over that of servers, rounded up.
    """
    leading = Counter({follower: 0 for each in group for follower in each.followers})
    leading.update(each.leader for each in group)
    share = math.ceil(len(group) / max(1, len(leading)))
    for each in group:
        least = min(each.followers, key=lambda name: (leading[name], name), default=None)
        if least is None or leading[each.leader] <= share:
            continue
        if leading[least] < share:
            return HandOver(each.stream, least)
    return None


async def spread(options: SpoolOptions, layout: Layout) -> HandOver | None:
    """Look once, and let one leader step down where that helps; raises SpoolUnavailable."""
    async with asking(options) as api:
        for name_of in (queue_stream, blob_stream):
            group = [await led(api, name_of(k)) for k in range(layout.shards)]
            if any(len(each.followers) < layout.replicas - 1 for each in group):
                return None  # a copy is away or behind: this is no time to move anything
            found = hand_over(group)
            if found is not None:
                wanted = json.dumps({"placement": {"preferred": found.to}}).encode()
                await api.ask(f"STREAM.LEADER.STEPDOWN.{found.stream}", wanted)
                return found
        return None


async def led(api: JetStreamApi, stream: str) -> Led:
    """Ask who leads a stream; raises SpoolUnavailable."""
    cluster = (await api.ask(f"STREAM.INFO.{stream}")).get("cluster") or {}
    followers = tuple(
        str(replica["name"])
        for replica in cluster.get("replicas") or ()
        if replica.get("current") and not replica.get("offline")
    )
    return Led(stream, str(cluster.get("leader", "")), followers)


async def keep_spread(options: SpoolOptions, layout: Layout) -> None:
    """Look now and again, until cancelled."""
    while True:
        await asyncio.sleep(EVERY.total_seconds() * random.uniform(0.8, 1.2))
        try:
            found = await spread(options, layout)
        except SpoolError as error:
            metrics.ERRORS.labels("leaders").inc()
            log.debug("the streams' leaders cannot be looked at", error=str(error))
            continue
        if found is not None:
            log.info("a stream is given another leader", reason=found.stream, host=found.to)
