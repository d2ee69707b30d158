"""
The metrics of a process's access to the queue: publishes, redeliveries, losses.

`queue.metrics` has the gauges of the whole queue.
"""

from math import inf

from postroad.telemetry.metrics import Group

_GROUP = Group("Queue access", "What each process measures at the queue.")

_RECORDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

PUBLISH_SECONDS = _GROUP.histogram(
    "postroad_queue_publish_seconds",
    "Time to store records: those of a new message, or those that follow from an attempt. It"
    " includes tries that got no answer.",
    watch="The p99 shows the disks of the NATS servers and the network between them. Some seconds:"
    " a stream has lost its leader.",
)
PUBLISH_RECORDS = _GROUP.histogram(
    "postroad_queue_publish_records",
    "Records in one publish, which stores all or none. A message has one record for each"
    " destination domain, and mail that comes at the same time is stored together.",
    buckets=_RECORDS,
)
PUBLISH_FAILURES = _GROUP.counter(
    "postroad_queue_publish_failures_total",
    "Failed tries to store records, by stream and by the error code of JetStream, `no-leader` or"
    " `no-answer`.",
    labels={
        "stream": "one for each stream of records that failed",
        "code": "one for each error that came",
    },
    watch="Steady growth for one stream while others take mail: see"
    " [a stream that refuses writes](operations.md#a-stream-that-refuses-writes).",
)
STREAM_REFUSES = _GROUP.gauge(
    "postroad_queue_stream_refuses",
    "1 while this process finds that a stream takes no records although the queue answers, else 0.",
    labels={"stream": "one for each stream of records that has refused"},
    watch="1: new mail goes to other shards. See"
    " [a stream that refuses writes](operations.md#a-stream-that-refuses-writes).",
)
REDELIVERIES = _GROUP.counter(
    "postroad_queue_redeliveries_total",
    "Records that this process got and that the queue had handed out before, to any process: they"
    " were given back, or their lease expired.",
    watch="A rate that does not go down: processes die, or lose their connection to the queue.",
)
LEASES_EXPIRED = _GROUP.counter(
    "postroad_queue_leases_expired_total",
    "Leases that expired while this process had the record. Another process may have it now.",
    watch="Any growth without a fault of NATS: this process gets too little CPU or network.",
)
SESSIONS_LOST = _GROUP.counter(
    "postroad_queue_sessions_lost_total",
    "How often this process found its session gone: others took it for dead, or the NATS servers"
    " had lost all sessions.",
    watch="Any growth without a restart of all NATS servers: this process gets too little CPU or"
    " network.",
)
EVENTS_DROPPED = _GROUP.counter(
    "postroad_queue_events_dropped_total",
    "Events that were not written: the queue was unavailable for long, or the process ended first.",
    watch="Any growth: `postroad events` has gaps. No mail is lost.",
)
INTERNAL_ERRORS = _GROUP.counter(
    "postroad_queue_internal_errors_total",
    "Unexpected errors in background work for the queue: leases, the session, events.",
    watch="Any growth: the log has the traceback.",
)
ROOM = _GROUP.gauge(
    "postroad_queue_room_bytes",
    "How many octets of new mail fit into the queue before this process refuses mail with 452."
    " Measured every few seconds; +Inf while the storage's limit is not known.",
    watch="Nearing 0: make room, or give the NATS servers more storage.",
)
ROOM.set(inf)
