"""
The fields of log lines: their names, how long their texts may be, and which are never shown.

The names are stable: people build searches and alerts on them.
"""

import re
from contextvars import ContextVar
from functools import lru_cache

# In the order of docs/observability.md.
FIELDS = {
    "ts": "when, RFC 3339 in UTC with microseconds",
    "level": "debug, info, warning, error or critical",
    "event": "what happened, a fixed sentence without values",
    "logger": "the module that says so, such as ingress.session.session, or a library",
    "process": "which process, such as ingress-0",
    "queue_id": "one message, through all its attempts",
    "notification": "the queue id of the message that tells a sender of this one",
    "record_id": "one message's part for one destination domain",
    "deliveries": "how often a record was handed out, at least",
    "deaths": "of processes in a row, while a record was tried apart from others",
    "client": "the Client that was proven, namespace/name",
    "user": "the name given at a login that failed",
    "peer": "the other end's IP address",
    "helo": "what the peer called itself",
    "tls": "TLS version and cipher, absent without TLS",
    "from": "the envelope's reverse-path, empty for the null one",
    "to": "a forward-path of the envelope; when accepted or rejected, up to five of them",
    "recipients": "how many forward-paths, when there are several",
    "command": "what was rejected: CONNECT, EHLO, AUTH, MAIL, RCPT, DATA; SESSION is one ended",
    "delay": "seconds since the message was accepted",
    "relay": "the host that was asked: name[address]:port",
    "relay_object": "the Relay that says how the mail leaves, or domain:NAMESPACE/NAME for a route",
    "dsn": "an enhanced status code (RFC 3463)",
    "domain": "the destination domain",
    "site": "the hosts that limits are kept for: the MX hosts of a domain, or a Relay's smarthosts",
    "host": "a server in NATS",
    "lane": "the lane of the queue",
    "lanes": "lanes of the queue, a row of them as its first and last",
    "pool": "the pool of delivery processes",
    "attempt": "which attempt at this record, from 1",
    "reply": "an SMTP reply as it was sent or heard",
    "phase": "what a host's reply answers: greeting, EHLO, MAIL, RCPT, DATA and so on",
    "reason": "why, in a word or a sentence",
    "size": "octets",
    "seconds": "how long it took, or is to last",
    "order": "what a person ordered: retry, hold, release, bounce, delete, suspend",
    "order_id": "one such order",
    "part": "which part of the process",
    "child": "a process under supervision",
    "listener": "the kind of the port",
    "subject": "a subject in NATS",
    "lease": "a Lease in Kubernetes",
    "holder": "who holds it",
    "in_force": "the queue's layout as it is",
    "wanted": "the layout as it was asked for",
    "object": "one object in Kubernetes",
    "count": "how many",
    "left_out": "how many lines alike were not written before this one, since there were too many",
    "generation": "which generation of the configuration",
    "objects": "configured objects: + added, ~ changed, - removed",
    "settings": "variable name and value of every setting in force, at the start",
    "setting": "the name of a variable",
    "trace_id": "the OpenTelemetry trace this belongs to, when tracing is on",
    "error": "the text of what went wrong",
    "exception": "the traceback of an error nobody planned",
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
    """Put the trace's id into every line of this task from now on; "" for no more."""
    _trace.set(trace_id)


def current_trace() -> str:
    """Return the id of the trace that this task's lines belong to, "" for none."""
    return _trace.get()
