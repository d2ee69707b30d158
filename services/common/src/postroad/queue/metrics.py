"""
The queue's gauges: how much mail waits, how old it is, how full the storage is.

They describe the whole cluster, so one process serves them: `postroad up`, or the leading operator.
Only those two import this module, since every process that imports it serves the gauges, at zero.
"""

from datetime import datetime

from postroad.mail.traffic import TrafficClass
from postroad.spool.backlog import Backlog
from postroad.spool.selection import WaitKind
from postroad.telemetry.metrics import Group

_GROUP = Group(
    "Queue",
    "The queue of the whole cluster. One process serves these: `postroad up`, or on Kubernetes the"
    " operator that leads.",
)

READY = _GROUP.gauge(
    "postroad_queue_ready",
    "Records in the queue that may be tried now, by class.",
    labels={"class": tuple(traffic_class.word for traffic_class in TrafficClass)},
    watch="Steady growth: more delivery processes are needed, or next hops are slow.",
)
POOL_READY = _GROUP.gauge(
    "postroad_queue_pool_ready",
    "Records in the queue that may be tried now, by egress pool.",
    labels={"pool": "one for each egress pool in which mail was ready since this process started"},
    watch="Mail in a pool that no Relay names: the pool `default` takes it over within half a"
    " minute.",
)
WAITING = _GROUP.gauge(
    "postroad_queue_waiting",
    "Records in the queue that wait: `deferred` for their next try, or `held` until a person"
    " decides or the hold ends.",
    labels={"kind": (WaitKind.DEFERRED.word, WaitKind.HELD.word)},
    watch="`held` above 0: a person should decide, see `postroad queue list --held`.",
)
OLDEST = _GROUP.gauge(
    "postroad_queue_oldest_seconds",
    "Age of the oldest record by its state, in seconds since its message arrived; 0 when there is"
    " none. If more than a thousand records of one stream are deferred, only those stored longest"
    " ago are looked at.",
    labels={"kind": tuple(kind.word for kind in WaitKind)},
    watch="`ready` above a few minutes: no delivery process takes the mail, or they are too slow."
    " `deferred` above some hours: a destination has not taken mail for long, see"
    " `postroad status`.",
)
STORAGE_USED = _GROUP.gauge(
    "postroad_queue_storage_used_bytes",
    "Storage that the queue uses in JetStream, on all servers together.",
    watch="Near 80 % of the limit: above that, ingress refuses mail with 452.",
)
STORAGE_LIMIT = _GROUP.gauge(
    "postroad_queue_storage_limit_bytes",
    "Storage that the queue may use, on all servers together; 0 when it is not known.",
)


class BacklogGauges:
    """Sets the gauges; a pool that once had mail is shown at 0 when it is empty."""

    def __init__(self) -> None:
        self._pools: set[str] = set()

    def show(self, backlog: Backlog, now: datetime) -> None:
        """Set the gauges to a backlog as of `now`."""
        for traffic_class in TrafficClass:
            READY.labels(traffic_class.word).set(backlog.of_class(traffic_class))
        WAITING.labels(WaitKind.DEFERRED.word).set(backlog.deferred)
        WAITING.labels(WaitKind.HELD.word).set(backlog.held)
        for kind in WaitKind:
            arrival = backlog.oldest.get(kind, now)
            OLDEST.labels(kind.word).set(max(0.0, (now - arrival).total_seconds()))
        pools = backlog.by_pool()
        self._pools |= pools.keys()
        for pool in self._pools:
            POOL_READY.labels(pool).set(pools.get(pool, 0))
