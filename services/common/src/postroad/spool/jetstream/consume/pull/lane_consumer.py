"""
The server's durable consumer of one lane in one stream, from which its requests pull.

It is kept in the servers' memory. A single server loses it when it is restarted, and it is created
again. A cluster keeps it over a restart of all servers, with the time of its creation, but without
its state: it delivers from the beginning. Whoever asks for a consumer is told how much that one has
delivered. If it is nothing, an earlier one may have delivered all that is in the lane.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.consume.pull.lane_pull import MAX_ACK_PENDING, LanePull
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.streams.subjects import lane_filter

_TIMEOUT = 5.0  # seconds
_PASSES = timedelta(minutes=10)  # without a request, of a pool that no Relay names


async def make_consumer(requests: Requests, pull: LanePull, *, ack_wait: timedelta) -> None:
    """
    Create a lane's consumer if it does not exist, and note since when it has its state.

    Raises SpoolUnavailable.
    """
    config = _config(pull, ack_wait)
    request = {"stream_name": pull.stream, "config": config}
    what = f"CONSUMER.CREATE.{pull.stream}.{pull.consumer}.{config['filter_subject']}"
    said = await requests.ask_api(what, request, timeout=_TIMEOUT)
    error = said.get("error")
    if error is not None:
        raise SpoolUnavailable(f"no consumer: {error.get('description')}")
    pull.made = True
    pull.clustered = "cluster" in said
    pull.made_at = max(pull.made_at, _since(said))


def _since(said: Mapping[str, Any]) -> int:
    """Return since when a consumer has its state; nanoseconds by the servers' clock."""
    is_empty = said["delivered"]["consumer_seq"] == 0
    since = datetime.fromisoformat(said["ts" if is_empty else "created"])
    return int(since.timestamp() * 1e9)


def _config(pull: LanePull, ack_wait: timedelta) -> dict[str, object]:
    key = pull.key
    ends = {"inactive_threshold": int(_PASSES.total_seconds() * 1e9)} if pull.passing else {}
    return {
        **ends,
        "durable_name": pull.consumer,
        "name": pull.consumer,
        "filter_subject": lane_filter(pull.shard, key.pool, pull.traffic_class, key.lane),
        "ack_policy": "explicit",
        "ack_wait": int(ack_wait.total_seconds() * 1e9),
        "max_deliver": -1,
        "max_ack_pending": MAX_ACK_PENDING,
        "mem_storage": True,
        "deliver_policy": "all",
        "replay_policy": "instant",
    }
