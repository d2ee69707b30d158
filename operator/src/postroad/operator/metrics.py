"""What the operator counts and shows of its own work; `queue.metrics` has the queue."""

from postroad.manifests.objects import Kind
from postroad.telemetry.metrics import Group

_GROUP = Group(
    "Operator",
    "The cluster's objects, told by the operator that leads; on one machine by `postroad up`.",
)

LEADER = _GROUP.gauge(
    "postroad_operator_leader",
    "1 in the operator that holds the Lease, and in `up`.",
    watch="A sum other than 1 for a minute: nobody works, or the API server is away.",
)
RECONCILE_SECONDS = _GROUP.histogram(
    "postroad_operator_reconcile_seconds",
    "Time to compile all objects and publish what changed.",
    watch="The p99 nearing a second: a change takes so much longer to be in force.",
)
ERRORS = _GROUP.counter(
    "postroad_operator_errors_total",
    "Work that failed and is tried again, by what it was.",
    labels={
        "work": (
            "publish",
            "status",
            "list",
            "watch",
            "provision",
            "backlog",
            "storage",
            "leaders",
            "usage",
        )
    },
    watch="Steady growth of one: the log names the cause.",
)
OBJECTS = _GROUP.gauge(
    "postroad_operator_objects",
    "Objects by kind, and whether their Ready condition is true.",
    labels={"kind": tuple(Kind), "ready": ("true", "false")},
    watch='`ready="false"` that stays: `kubectl get domains,relays,quotas,clients` says which, on'
    " one machine `postroad status`.",
)
STATUS_WRITES = _GROUP.counter("postroad_operator_status_writes_total", "Statuses written.")
STATUS_WAITING = _GROUP.gauge(
    "postroad_operator_statuses_waiting",
    "Statuses that are to be written.",
    watch="Growth: the API server is slow, or refuses.",
)
GENERATION = _GROUP.gauge(
    "postroad_operator_published_generation", "Generation of the configuration last published."
)
WATCH_SECONDS = _GROUP.gauge(
    "postroad_operator_watch_age_seconds",
    "Seconds since the last event of a watch.",
    watch="Nothing by itself: quiet clusters have few events. Everything is listed anew regularly.",
)
LIST_SECONDS = _GROUP.gauge(
    "postroad_operator_list_age_seconds",
    "Seconds since everything was last listed.",
    watch="More than two resync times (POSTROAD_RESYNC): the API server is away or refuses.",
)
