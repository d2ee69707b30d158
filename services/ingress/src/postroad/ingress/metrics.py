"""What ingress counts."""

from postroad.ingress.reasons import REASONS
from postroad.telemetry.metrics import BYTES, Group

_GROUP = Group("Ingress", "Mail on its way in, by each ingress process.")
_LISTENER = {"listener": ("relay", "submission", "submissions")}

SESSIONS = _GROUP.counter(
    "postroad_ingress_sessions_total", "SMTP sessions opened.", labels=_LISTENER
)
OPEN_SESSIONS = _GROUP.gauge(
    "postroad_ingress_open_sessions",
    "Connections open now, from accept on and whatever they are at.",
    watch="Near the limit on connections, clients are turned away with 421.",
)
HELD = _GROUP.gauge(
    "postroad_ingress_held_bytes",
    "What connections hold in memory: input, recipients, content not stored yet, unread replies.",
    watch="From a quarter of POSTROAD_LIMIT_MEMORY on, strangers are refused with `memory`.",
)
TURNED_AWAY = _GROUP.counter(
    "postroad_ingress_turned_away_total",
    "Connections answered 421 at once; those over a limit on a TLS port are closed.",
    labels={"reason": ("configuration", "connections", "kept", "address", "network", "draining")},
    watch="`configuration` other than at a start: the process has no configuration in force."
    " `kept`: what is left is kept for the networks of Clients.",
)
PROXY_REFUSED = _GROUP.counter(
    "postroad_ingress_proxy_refused_total",
    "Connections to PROXY ports that were cut off before a session, by the reason.",
    labels={"reason": ("untrusted", "malformed", "incomplete", "connections")},
    watch="`untrusted`: somebody goes round the load balancer, or its network is not in"
    " POSTROAD_PROXY_TRUSTED.",
)
MESSAGES = _GROUP.counter(
    "postroad_ingress_messages_total",
    "Messages by the reply to their final dot.",
    labels={"outcome": ("accepted", "deferred", "rejected")},
    watch="A growing share of `deferred`: the queue is away or full, or a quota is used up.",
)
RECIPIENTS = _GROUP.counter(
    "postroad_ingress_recipients_total",
    "RCPT commands by their reply.",
    labels={"outcome": ("accepted", "deferred", "rejected")},
)
COMMANDS = ("connect", "ehlo", "auth", "mail", "rcpt", "data", "session", "other")
REFUSALS = _GROUP.counter(
    "postroad_ingress_refusals_total",
    "Replies 4yz and 5yz by the command and the reason; `session` where a session was ended.",
    labels={"command": COMMANDS, "reason": REASONS},
    watch="Growth of a reason that did not grow before: the log's `rejected` lines and"
    " `postroad events --type rejected` say whose.",
)
RECEIVED_BYTES = _GROUP.counter(
    "postroad_ingress_received_bytes_total", "Content of accepted messages, in bytes."
)
MESSAGE_SIZE = _GROUP.histogram(
    "postroad_ingress_message_size_bytes", "Size of accepted messages.", buckets=BYTES
)
STORE_SECONDS = _GROUP.histogram(
    "postroad_ingress_store_seconds",
    "Time from a message's last octet to the queue's acknowledgement.",
    watch="This is the disk: its p99 is the accept latency clients see.",
)
LOGINS = _GROUP.counter(
    "postroad_ingress_logins_total",
    "AUTH commands by their end: `shut_out` after too many failures of a network, `busy` when too"
    " many passwords wait to be hashed; both are answered 454.",
    labels={"outcome": ("succeeded", "failed", "malformed", "shut_out", "busy")},
    watch="Many `failed` or `shut_out`: somebody guesses passwords. `busy`: from many networks.",
)
TLS_HANDSHAKES = _GROUP.counter(
    "postroad_ingress_tls_handshakes_total",
    "TLS handshakes on every port by their end.",
    labels={"outcome": ("succeeded", "failed", "abandoned")},
    watch="`abandoned`: the client closed before the end, as health checks do.",
)
INTERNAL_ERRORS = _GROUP.counter(
    "postroad_ingress_internal_errors_total",
    "Errors nobody planned, answered 451 where a session had begun, and logged with their cause.",
    watch="Any: the log has the traceback.",
)

ACCEPTED = MESSAGES.labels("accepted")
DEFERRED = MESSAGES.labels("deferred")
REJECTED = MESSAGES.labels("rejected")
