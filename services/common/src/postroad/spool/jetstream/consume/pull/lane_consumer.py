"""
The server's durable consumer of one lane in one stream, from which its requests pull.

It is kept in the servers' memory. A single server loses it when it is restarted, and it is created
again. A cluster keeps it over a restart of all servers, with the time of its creation, but without
its state: it delivers from the beginning.
"""

from datetime import datetime, timedelta

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.consume.pull.lane_pull import MAX_ACK_PENDING, LanePull
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.streams.subjects import lane_filter

_TIMEOUT = 5.0  # seconds


async def make_consumer(requests: Requests, pull: LanePull, *, ack_wait: timedelta) -> None:
    """Create a lane's consumer if it does not exist; SpoolUnavailable if that fails."""
    config = _config(pull, ack_wait)
    request = {"stream_name": pull.stream, "config": config}
    what = f"CONSUMER.CREATE.{pull.stream}.{pull.consumer}.{config['filter_subject']}"
    said = await requests.ask_api(what, request, timeout=_TIMEOUT)
    error = said.get("error")
    if error is not None:
        raise SpoolUnavailable(f"no consumer: {error.get('description')}")
    pull.made = True
    pull.clustered = "cluster" in said
    pull.made_at = int(datetime.fromisoformat(said["created"]).timestamp() * 1e9)


def _config(pull: LanePull, ack_wait: timedelta) -> dict[str, object]:
    key = pull.key
    return {
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
