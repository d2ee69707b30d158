"""The metrics of ingress."""

from postroad.ingress.reasons import REASONS
from postroad.telemetry.metrics import Group

_GROUP = Group("Ingress", "What each ingress process counts of incoming mail.")
_LISTENER = {"listener": ("relay", "submission", "submissions")}

SESSIONS = _GROUP.counter(
    "postroad_ingress_sessions_total", "SMTP sessions opened.", labels=_LISTENER
)
OPEN_SESSIONS = _GROUP.gauge(
    "postroad_ingress_open_sessions",
    "Open connections, counted from accept on, whatever their phase.",
    watch="Near POSTROAD_LIMIT_CONNECTIONS: further clients are refused with 421.",
)
HELD = _GROUP.gauge(
    "postroad_ingress_held_bytes",
    "Memory that connections use: input, recipients, content not stored yet, unread replies.",
    watch="Above a quarter of POSTROAD_LIMIT_MEMORY, strangers (clients that no Client object"
    " covers) who use more than their share are refused for the reason `memory`.",
)
TURNED_AWAY = _GROUP.counter(
    "postroad_ingress_turned_away_total",
    "Connections refused at once with 421. On the port with implicit TLS, those over a limit are"
    " closed without a reply.",
    labels={"reason": ("configuration", "connections", "kept", "address", "network", "draining")},
    watch="`configuration`, except at a start: the process has no configuration in force. `kept`:"
    " the connections that are left are reserved for the networks of Clients.",
)
PROXY_REFUSED = _GROUP.counter(
    "postroad_ingress_proxy_refused_total",
    "Connections to PROXY ports that were closed before a session, by reason.",
    labels={"reason": ("untrusted", "malformed", "incomplete", "connections")},
    watch="`untrusted`: somebody connects past the load balancer, or the load balancer's network"
    " is not in POSTROAD_PROXY_TRUSTED.",
)
RECIPIENTS = _GROUP.counter(
    "postroad_ingress_recipients_total",
    "RCPT commands by their reply.",
    labels={"outcome": ("accepted", "deferred", "rejected")},
)
COMMANDS = ("connect", "ehlo", "auth", "mail", "rcpt", "data", "session", "other")
REFUSALS = _GROUP.counter(
    "postroad_ingress_refusals_total",
    "Replies 4yz and 5yz, by command and reason. `session`: the reply ended the session.",
    labels={"command": COMMANDS, "reason": REASONS},
    watch="Growth of a reason that did not grow before: the log's `rejected` lines and"
    " `postroad events --type rejected` name the clients.",
)
LOGINS = _GROUP.counter(
    "postroad_ingress_logins_total",
    "AUTH commands, by result. `shut_out`: too many failures from this network. `busy`: too many"
    " passwords wait to be hashed. The reply to both is 454.",
    labels={"outcome": ("succeeded", "failed", "malformed", "shut_out", "busy")},
    watch="Many `failed` or `shut_out`: somebody guesses passwords. Many `busy`: somebody does so"
    " from many networks.",
)
TLS_HANDSHAKES = _GROUP.counter(
    "postroad_ingress_tls_handshakes_total",
    "TLS handshakes on all ports, by result.",
    labels={"outcome": ("succeeded", "failed", "abandoned")},
    watch="`abandoned` is harmless: the client closed during the handshake, as health checks do.",
)
INTERNAL_ERRORS = _GROUP.counter(
    "postroad_ingress_internal_errors_total",
    "Unexpected errors. In a session the reply is 451.",
    watch="Any growth: the log has the traceback.",
)
