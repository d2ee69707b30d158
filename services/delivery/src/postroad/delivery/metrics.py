"""The metrics of delivery."""

from postroad.delivery.outcome import OutcomeKind
from postroad.telemetry.metrics import Group

_GROUP = Group("Delivery", "What each delivery process counts of outgoing mail.")

_OUTCOMES = _GROUP.counter(
    "postroad_delivery_recipients_total",
    "Recipients of attempts, by outcome: one count for each recipient and attempt.",
    labels={"outcome": ("delivered", "deferred", "bounced")},
    watch="A growing share of `deferred`: next hops do not answer, or refuse this relay's mail.",
)
OUTCOMES = {kind: _OUTCOMES.labels(kind.value.lower()) for kind in OutcomeKind}
ATTEMPTS = _GROUP.counter("postroad_delivery_attempts_total", "Attempts to deliver a record.")
AMBIGUOUS = _GROUP.counter(
    "postroad_delivery_ambiguous_attempts_total",
    "Attempts whose answer to the final dot was lost: the message may be delivered twice.",
    watch="More than a few: a next hop, or a device on the way to it, cuts connections.",
)
LEASES_LOST = _GROUP.counter(
    "postroad_delivery_leases_lost_total",
    "Records that this process gave up because it may have lost their lease. The queue hands them"
    " out again.",
    watch="Any growth without a fault of NATS: this process gets too little CPU or network.",
)
_SESSIONS = _GROUP.counter(
    "postroad_delivery_sessions_total",
    "SMTP sessions for attempts: `opened` anew, `reused` after earlier mail, or `failed` to open.",
    labels={"how": ("opened", "reused", "failed")},
)
OPENED = _SESSIONS.labels("opened")
REUSED = _SESSIONS.labels("reused")
NOT_OPENED = _SESSIONS.labels("failed")
IN_HAND = _GROUP.gauge("postroad_delivery_in_hand", "Records that this process holds a lease on.")
CONNECTIONS = _GROUP.gauge("postroad_delivery_connections", "Connections to next hops in use now.")
PARKED = _GROUP.counter(
    "postroad_delivery_parked_total",
    "Records put off without an attempt because their site's waiting room was full.",
)
RECALLED = _GROUP.counter(
    "postroad_delivery_recalled_total",
    "Records that were put off and taken back early, because their site has room for them again.",
)
SUSPENDED = _GROUP.counter(
    "postroad_delivery_suspended_total",
    "Records put off without an attempt because their site is down: delivery to it pauses for a"
    " while.",
    watch="A rate that does not go down: the log names the site and the cause.",
)
CONTENT = _GROUP.gauge(
    "postroad_delivery_content_bytes",
    "Memory that attempts have taken for the bodies of large messages.",
)
CROWDED = _GROUP.counter(
    "postroad_delivery_crowded_total",
    "Records put off without an attempt because the bodies of other large messages take the memory"
    " that their sender or site may have.",
    watch="A rate that does not go down: hosts take large messages slowly, or do not read them.",
)
UNDECIDED = _GROUP.counter(
    "postroad_delivery_undecided_total",
    "Records put off without an attempt because this process cannot read an object that may decide"
    " how they leave.",
    watch="Any growth: the log names the object, and `postroad status` the process.",
)
MOVED = _GROUP.counter(
    "postroad_delivery_moved_total", "Records moved to the lane or pool that they belong to."
)
HELD = _GROUP.counter(
    "postroad_delivery_held_total",
    "Records put on hold, by reason.",
    labels={"reason": ("body", "order", "poison", "unreadable")},
    watch="Any growth but of `order`. `body`: the stored content was missing or damaged. `poison`:"
    " processes that took the record died. `unreadable`: the record cannot be read."
    " `postroad queue list --held` lists the records.",
)
QUEUE_SECONDS = _GROUP.histogram(
    "postroad_delivery_queue_seconds",
    "Time from a message's arrival to its delivery.",
    watch="A growing p99: users notice slow mail.",
)
UNSETTLED = _GROUP.gauge(
    "postroad_delivery_unsettled_processes",
    "Other delivery processes that have not settled an edit of pools after some seconds. Until they"
    " do, sites that pools share get no more connections.",
    watch="More than 0: the log names them. Each ends and starts again after a minute.",
)
INTERNAL_ERRORS = _GROUP.counter(
    "postroad_delivery_internal_errors_total",
    "Unexpected errors. A record that is concerned is deferred.",
    watch="Any growth: the log has the traceback.",
)
