"""What delivery counts."""

from postroad.delivery.outcome import OutcomeKind
from postroad.telemetry.metrics import Group

_GROUP = Group("Delivery", "Mail on its way out, by each delivery process.")

_OUTCOMES = _GROUP.counter(
    "postroad_delivery_recipients_total",
    "Recipients by the outcome of an attempt.",
    labels={"outcome": ("delivered", "deferred", "bounced")},
    watch="A growing share of `deferred`: next hops are away, or turn this relay down.",
)
OUTCOMES = {kind: _OUTCOMES.labels(kind.value.lower()) for kind in OutcomeKind}
ATTEMPTS = _GROUP.counter("postroad_delivery_attempts_total", "Attempts at records.")
AMBIGUOUS = _GROUP.counter(
    "postroad_ambiguous_attempts_total",
    "Attempts whose answer to the final dot was lost: the message may be delivered twice.",
    watch="More than a handful: a next hop, or something between, cuts connections.",
)
LEASES_LOST = _GROUP.counter(
    "postroad_delivery_leases_lost_total",
    "Records dropped because their lease was in doubt; another process takes them.",
    watch="Any without a fault of NATS: this process is starved of CPU or network.",
)
_SESSIONS = _GROUP.counter(
    "postroad_delivery_sessions_total",
    "Sessions by how they were come by.",
    labels={"how": ("opened", "reused", "failed")},
)
OPENED = _SESSIONS.labels("opened")
REUSED = _SESSIONS.labels("reused")
NOT_OPENED = _SESSIONS.labels("failed")
IN_HAND = _GROUP.gauge("postroad_delivery_in_hand", "Records in this process's hands.")
CONNECTIONS = _GROUP.gauge("postroad_delivery_connections", "Connections in use now.")
PARKED = _GROUP.counter(
    "postroad_delivery_parked_total",
    "Records put off without an attempt because their site's waiting room was full.",
)
RECALLED = _GROUP.counter(
    "postroad_delivery_recalled_total",
    "Records brought back before they were due, because their site has room for them.",
)
SUSPENDED = _GROUP.counter(
    "postroad_delivery_suspended_total",
    "Records put off without an attempt because their site is left alone for a while.",
    watch="A rate that stays: the log says which site, and why.",
)
UNDECIDED = _GROUP.counter(
    "postroad_delivery_undecided_total",
    "Records put off without an attempt because an object that may say how they leave cannot be"
    " read.",
    watch="Any: the log names the object, `postroad status` the process.",
)
MOVED = _GROUP.counter(
    "postroad_delivery_moved_total", "Records moved to the lane or pool they belong in."
)
HELD = _GROUP.counter(
    "postroad_delivery_held_total",
    "Records held, by reason.",
    labels={"reason": ("body", "order", "poison", "unreadable")},
    watch="All but `order`: a stored body was missing or damaged, a record killed whoever took it,"
    " or cannot be read. `postroad queue list --held` names them.",
)
QUEUE_SECONDS = _GROUP.histogram(
    "postroad_delivery_queue_seconds",
    "Time from a message's arrival to its delivery.",
    watch="The p99 of what your users call slow mail.",
)
INTERNAL_ERRORS = _GROUP.counter(
    "postroad_delivery_internal_errors_total",
    "Errors nobody planned: the cause is in the log, and a record that it concerned was deferred.",
    watch="Any: the log has the traceback.",
)
