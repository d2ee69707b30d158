"""The metrics of the operator's own work; those of the queue are in `queue.metrics`."""

from postroad.manifests.objects import Kind
from postroad.telemetry.metrics import Group

_GROUP = Group(
    "Operator",
    "The operator's work and the cluster's objects. The operator that leads serves these; on one"
    " machine `postroad up`.",
)

LEADER = _GROUP.gauge(
    "postroad_operator_leader",
    "1 in the operator that holds the Lease, and in `up`.",
    watch="A sum other than 1 for a minute: no operator leads, or the API server does not answer.",
)
RECONCILE_SECONDS = _GROUP.histogram(
    "postroad_operator_reconcile_seconds",
    "Time to compile all objects and publish what changed.",
    watch="A p99 near a second: changes come into force that much later.",
)
ERRORS = _GROUP.counter(
    "postroad_operator_errors_total",
    "Work that failed and will be tried again, by kind of work.",
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
    watch="Steady growth of one kind: the log names the cause.",
)
OBJECTS = _GROUP.gauge(
    "postroad_operator_objects",
    "Objects by kind, and whether their Ready condition is true.",
    labels={"kind": tuple(Kind), "ready": ("true", "false")},
    watch='`ready="false"` for long: `kubectl get domains,relays,quotas,clients,domaingrants` names'
    " the objects, on one machine `postroad status`.",
)
STATUS_WRITES = _GROUP.counter(
    "postroad_operator_status_writes_total", "Statuses of objects written."
)
STATUS_WAITING = _GROUP.gauge(
    "postroad_operator_statuses_waiting",
    "Statuses of objects that still have to be written.",
    watch="Steady growth: the API server is slow, or refuses the writes.",
)
GENERATION = _GROUP.gauge(
    "postroad_operator_published_generation", "Generation of the last published configuration."
)
CERTIFICATE_END = _GROUP.gauge(
    "postroad_operator_nats_certificate_end_seconds",
    "When the certificate that a NATS server showed last ends, in seconds since 1970. 0 without"
    " TLS.",
    watch="Less than two weeks ahead: it was not renewed. See"
    " [docs/kubernetes.md](kubernetes.md#tls-and-passwords-of-nats).",
)
WATCH_SECONDS = _GROUP.gauge(
    "postroad_operator_watch_age_seconds",
    "Seconds since the last event of a watch.",
    watch="A high value alone is no fault: quiet clusters have few events. All objects are"
    " listed again regularly.",
)
LIST_SECONDS = _GROUP.gauge(
    "postroad_operator_list_age_seconds",
    "Seconds since all objects were last listed.",
    watch="More than twice POSTROAD_RESYNC: the API server does not answer, or refuses.",
)
