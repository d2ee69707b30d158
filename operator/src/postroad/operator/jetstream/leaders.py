"""
Spreads the leaders of the queue's streams over the NATS servers.

All writes of a stream go through its leader. So a server that leads all shards does all the work,
and its failure stops all of them. After a rolling restart this is usual: the server that was up
first leads everything. When every copy of every stream is up to date, a server that leads more than
its share hands one stream over to the server that leads least. It is one stream at a time, because
a shard accepts no mail for a moment while its leader changes.
"""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from postroad.operator import metrics
from postroad.operator.jetstream.api import JetStreamApi, asking
from postroad.spool.errors import SpoolError
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.streams.subjects import body_stream, stream_name
from postroad.spool.lanes.keys import QueueStream
from postroad.spool.lanes.layout import Layout
from postroad.telemetry.logs import get_logger

EVERY = timedelta(seconds=15)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Led:
    """A stream, the server that leads it, and the followers that are up to date."""

    stream: str
    leader: str
    followers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HandOver:
    """A stream whose leader should step down, and the server that should lead it then."""

    stream: str
    to: str


def hand_over(group: Sequence[Led]) -> HandOver | None:
    """
    Return the change that spreads the leaders of a group of streams better, None if none does.

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


def _alike(layout: Layout) -> list[list[str]]:
    """Return the streams of all shards, those of one kind together."""
    shards = range(layout.shards)
    records = [[stream_name(kind, shard) for shard in shards] for kind in QueueStream]
    return [*records, [body_stream(shard) for shard in shards]]


async def spread(options: SpoolOptions, layout: Layout) -> HandOver | None:
    """Check once, and let one leader step down if that helps; raises SpoolUnavailable."""
    async with asking(options) as api:
        for names in _alike(layout):
            group = [await led(api, name) for name in names]
            if any(len(each.followers) < layout.replicas - 1 for each in group):
                return None  # a copy is missing or behind: not the time to move leaders
            found = hand_over(group)
            if found is not None:
                wanted = {"placement": {"preferred": found.to}}
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
    """Check at intervals, until cancelled."""
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
