"""
What a process counts of the queue: how it stores, what comes again, what it loses.

`queue.metrics` has the gauges of the whole queue; these are one process's own.
"""

from math import inf

from postroad.telemetry.metrics import Group

_GROUP = Group("Queue access", "What each process sees of the queue, by itself.")

_RECORDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

PUBLISH_SECONDS = _GROUP.histogram(
    "postroad_queue_publish_seconds",
    "Time until records are stored: those of a new message, or what follows of a record in hand."
    " Tries that were not answered are in it.",
    watch="The p99 is the disks of the NATS servers and the network between them. Seconds: a stream"
    " has lost its leader.",
)
PUBLISH_RECORDS = _GROUP.histogram(
    "postroad_queue_publish_records",
    "Records stored by one publish, all or none: a message has one for each destination domain.",
    buckets=_RECORDS,
)
REDELIVERIES = _GROUP.counter(
    "postroad_queue_redeliveries_total",
    "Records that came to this process and had been handed out before, here or elsewhere: they were"
    " given back, or their lease had run out.",
    watch="A rate that stays: processes die, or are cut off from the queue.",
)
LEASES_EXPIRED = _GROUP.counter(
    "postroad_queue_leases_expired_total",
    "Leases that ran out while this process had the record: another may have it now.",
    watch="Any without a fault of NATS: this process is starved of CPU or network.",
)
SESSIONS_LOST = _GROUP.counter(
    "postroad_queue_sessions_lost_total",
    "How often this process found its session gone: others took it for dead, or the NATS servers"
    " had lost all sessions.",
    watch="Any without a restart of all NATS servers: this process is starved of CPU or network.",
)
EVENTS_DROPPED = _GROUP.counter(
    "postroad_queue_events_dropped_total",
    "Events that were not written: the queue was away for long, or the process ended before.",
    watch="Any growth: `postroad events` has gaps. Mail is not concerned.",
)
INTERNAL_ERRORS = _GROUP.counter(
    "postroad_queue_internal_errors_total",
    "Errors nobody planned in what a process does for the queue beside the mail: its leases, its"
    " session, events.",
    watch="Any: the log has the traceback.",
)
ROOM = _GROUP.gauge(
    "postroad_queue_room_bytes",
    "Octets of new mail that the queue has room for until this process refuses it with 452; looked"
    " at every few seconds, +Inf while the storage's limit is not known.",
    watch="Nearing 0: make room, or give the NATS servers more storage.",
)
ROOM.set(inf)
