"""
The queue's gauges: what waits, how old it is, how full the storage is.

They speak of the whole cluster, so one process shows them: `postroad up`, or the operator that
leads. The module is imported by those two alone; a process that imports it shows them at zero.
"""

from datetime import datetime

from postroad.mail.traffic import TrafficClass
from postroad.spool.backlog import Backlog
from postroad.spool.selection import WaitKind
from postroad.telemetry.metrics import Group

_GROUP = Group(
    "Queue",
    "The queue of the whole cluster, told by `postroad up`, on Kubernetes by the operator that"
    " leads.",
)

READY = _GROUP.gauge(
    "postroad_queue_ready",
    "Records in the queue that may be tried now, by class.",
    labels={"class": ("express", "bulk")},
    watch="Growth: more delivery processes are needed, or next hops are slow.",
)
POOL_READY = _GROUP.gauge(
    "postroad_queue_pool_ready",
    "Records in the queue that may be tried now, by egress pool.",
    labels={
        "pool": "one per egress pool in which mail was ready since this process began to count"
    },
    watch="A pool that no Relay names: `default` moves its mail on within half a minute.",
)
WAITING = _GROUP.gauge(
    "postroad_queue_waiting",
    "Records in the queue that wait: for their next try, or held for a person.",
    labels={"kind": ("scheduled", "held")},
    watch="`held` above 0: somebody has to decide, see `postroad queue list`.",
)
OLDEST = _GROUP.gauge(
    "postroad_queue_oldest_seconds",
    "Seconds since the oldest record arrived, by what it waits for; 0 when there is none. Where"
    " more than a thousand are scheduled in one stream, of those stored longest ago.",
    labels={"kind": ("ready", "scheduled", "held")},
    watch="`ready` above a few minutes: mail is not taken up. `scheduled` above some hours: a"
    " destination has been away for long, see `postroad status`.",
)
STORAGE_USED = _GROUP.gauge(
    "postroad_queue_storage_used_bytes",
    "Storage that the queue uses in JetStream, on all servers together.",
    watch="Nearing 80 % of the limit: ingress then refuses mail with 452.",
)
STORAGE_LIMIT = _GROUP.gauge(
    "postroad_queue_storage_limit_bytes",
    "Storage that the queue may use, on all servers together; 0 when it is not known.",
)

_CLASSES = {TrafficClass.EXPRESS: "express", TrafficClass.BULK: "bulk"}


class BacklogGauges:
    """Shows backlogs; a pool that was named once is shown at 0 when nothing is in it."""

    def __init__(self) -> None:
        self._pools: set[str] = set()

    def show(self, backlog: Backlog, now: datetime) -> None:
        """Set the gauges to a backlog as of `now`."""
        for traffic_class, label in _CLASSES.items():
            READY.labels(label).set(backlog.of_class(traffic_class))
        WAITING.labels("scheduled").set(backlog.scheduled)
        WAITING.labels("held").set(backlog.held)
        for kind in WaitKind:
            arrival = backlog.oldest.get(kind, now)
            OLDEST.labels(kind.name.lower()).set(max(0.0, (now - arrival).total_seconds()))
        pools = backlog.by_pool()
        self._pools |= pools.keys()
        for pool in self._pools:
            POOL_READY.labels(pool).set(pools.get(pool, 0))
