"""
The fields of log lines: their names, the limits of their texts, and which hold secrets.

The names are stable, because people build searches and alerts on them.
"""

import re
from contextvars import ContextVar
from functools import lru_cache

# In the order of docs/observability.md.
FIELDS = {
    "ts": "when, RFC 3339 in UTC with microseconds",
    "level": "debug, info, warning, error or critical",
    "event": "what happened, a fixed sentence without values",
    "logger": "the module that wrote the line, such as ingress.session.session, or a library",
    "process": "the name of the process, such as ingress-0",
    "queue_id": "identifies a message through all its attempts",
    "notification": "the queue id of the notification that reports this message to its sender",
    "record_id": "identifies a message's part for one destination domain",
    "deliveries": "how often a record was handed out, at least",
    "deaths": "how many processes in a row died while a record was tried apart from others",
    "client": "the Client that was identified, as namespace/name",
    "user": "the username of a failed login",
    "peer": "the other end's IP address",
    "helo": "the name that the peer gave in HELO or EHLO",
    "tls": "TLS version and cipher, absent without TLS",
    "from": "the envelope's reverse-path, empty for the null one",
    "to": "a forward-path of the envelope; up to five in lines accepted and rejected",
    "recipients": "the number of forward-paths, if there are several",
    "command": "what was rejected: CONNECT, EHLO, AUTH, MAIL, RCPT, DATA; SESSION if ended",
    "delay": "seconds since the message was accepted",
    "relay": "the host that delivery talked to: name[address]:port",
    "relay_object": "the Relay that the mail uses, or domain:NAMESPACE/NAME for a route",
    "dsn": "an enhanced status code (RFC 3463)",
    "source": "the name of a Relay's source",
    "address": "the IP address of a Relay's source",
    "domain": "the destination domain",
    "site": "the hosts that limits are kept for: the MX hosts of a domain, or a Relay's smarthosts",
    "host": "a NATS server",
    "stream": "a stream of the queue in JetStream",
    "lane": "a lane of the queue",
    "lanes": "lanes of the queue; consecutive ones as the first and the last",
    "pool": "a pool of delivery processes",
    "attempt": "the number of the attempt at this record, from 1",
    "reply": "an SMTP reply as it was sent or received",
    "phase": "the step that a host's reply answers: greeting, EHLO, MAIL, RCPT, DATA and so on",
    "reason": "why, in a word or a sentence",
    "size": "octets",
    "seconds": "how long something took, or will last",
    "order": "the order of a person: retry, hold, release, bounce, delete, suspend",
    "order_id": "identifies one such order",
    "part": "a part of the process",
    "child": "a supervised process",
    "other_process": "the name of another process of the cluster",
    "listener": "the kind of port",
    "subject": "a subject in NATS",
    "lease": "a Lease in Kubernetes",
    "holder": "the operator that holds the Lease",
    "in_force": "the queue's layout that is in force",
    "wanted": "the layout that was requested",
    "object": "an object in Kubernetes",
    "count": "a number of things",
    "left_out": "how many similar lines before this one were left out as too many",
    "generation": "a generation of the configuration",
    "objects": "configured objects: + added, ~ changed, - removed",
    "settings": "name and value of every setting in force, at the start",
    "setting": "the name of an environment variable",
    "trace_id": "the OpenTelemetry trace that the line belongs to, when tracing is on",
    "error": "the text of what went wrong",
    "exception": "the traceback of an unexpected error",
}

MAX_TEXT = 2_000
MAX_TRACEBACK = 16_000

_SECRET_NAME = re.compile(r"passw|secret|token|credential|authorization|private_key", re.IGNORECASE)

_trace: ContextVar[str] = ContextVar("postroad_trace_id", default="")


@lru_cache(maxsize=512)
def names_secret(name: str) -> bool:
    """Whether a field's name says that its value is a secret."""
    return _SECRET_NAME.search(name) is not None


def limit_of(name: str) -> int:
    """Return how many characters of a field's text are written."""
    return MAX_TRACEBACK if name == "exception" else MAX_TEXT


def plain(value: object) -> str:
    """Return any value as text."""
    return str(value)[:MAX_TEXT]


def name_trace(trace_id: str) -> None:
    """Put the trace's id into every line of this task from now on; "" ends that."""
    _trace.set(trace_id)


def current_trace() -> str:
    """Return the id of the trace that this task's lines belong to, "" for none."""
    return _trace.get()
