"""
Structured logs on standard error: JSON lines for machines, aligned colours on a terminal.

Every line is one event with fields from `FIELDS`, whose names are stable: people build searches and
alerts on them. Three rules hold for every line, whoever wrote it (the standard library's loggers of
nats, aiosmtpd and asyncio come out here too):

- A peer's text cannot make a line, hide one or steer a terminal. JSON is written in ASCII, and the
  readable format shows control and bidirectional characters as escapes; texts are cut at 2,000
  characters.
- A secret is never shown: `Secret` values, and any field whose name says that it is one.
- A level that is off costs one call of an empty function.

The event loop never waits for whoever reads standard error (`log_sink`).
"""

import json
import logging
import re
import sys
from enum import StrEnum
from functools import lru_cache
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from postroad.runtime.log_sink import LineSink

# The stable field names, in the order of docs/observability.md.
FIELDS = {
    "ts": "when, RFC 3339 in UTC with microseconds",
    "level": "debug, info, warning, error or critical",
    "event": "what happened, a fixed sentence without values",
    "logger": "the part that says so",
    "process": "which process, such as ingress-0",
    "session_id": "one SMTP session, as server or as client",
    "queue_id": "one message, through all its attempts",
    "record_id": "one message's part for one destination domain",
    "client": "the Client that was proven, namespace/name",
    "peer": "the other end's IP address and port",
    "helo": "what the peer called itself",
    "reverse_path": "the envelope's reverse-path, empty for the null one",
    "recipient": "one forward-path of the envelope",
    "domain": "the destination domain",
    "site": "the set of MX hosts that limits are kept for",
    "host": "the MX host or smarthost",
    "lane": "the lane of the queue",
    "attempt": "which attempt at this record, from 1",
    "reply": "an SMTP reply as it was sent or heard",
    "status": "an enhanced status code (RFC 3463)",
    "outcome": "Delivered, Deferred or Bounced",
    "reason": "why, in a word or a sentence",
    "size": "octets",
    "seconds": "how long it took",
    "part": "which part of the process",
    "count": "how many",
    "generation": "which generation of the configuration",
    "objects": "configured objects: + added, ~ changed, - removed",
    "settings": "variable name and value of every setting in force, at the start",
    "trace_id": "the OpenTelemetry trace this belongs to, when tracing is on",
    "error": "the text of what went wrong",
    "exception": "the traceback of an error nobody planned",
}

MAX_TEXT = 2_000
MAX_TRACEBACK = 16_000

_SECRET_NAME = re.compile(r"passw|secret|token|credential|authorization|private_key", re.IGNORECASE)

Logger = FilteringBoundLogger


class LogLevel(StrEnum):
    """The least important level that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def number(self) -> int:
        """The standard library's number for this level."""
        return logging.getLevelNamesMapping()[self.value.upper()]


class LogFormat(StrEnum):
    """`auto` is console on a terminal, json elsewhere."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


def get_logger(name: str, **fields: object) -> Logger:
    """
    Return the logger of one part; `fields` go into each of its lines.

    Bind what a whole session or attempt shares once (`log.bind(queue_id=...)`) and keep the result:
    binding costs more than a line whose level is off. Do not bind at import: a bound logger keeps
    the configuration it was bound under.
    """
    # `logger` is taken as a parameter's name there; _Stamp puts the field right.
    logger: Logger = structlog.get_logger(_part=name, **fields)
    return logger


def name_trace(trace_id: str) -> None:
    """Put the trace's id into every line of this task from now on; "" for no more."""
    if trace_id:
        structlog.contextvars.bind_contextvars(trace_id=trace_id)
    else:
        structlog.contextvars.unbind_contextvars("trace_id")


def configure(
    process: str,
    *,
    level: LogLevel = LogLevel.INFO,
    format: LogFormat = LogFormat.AUTO,
    stream: TextIO | None = None,
) -> LineSink:
    """
    Send every log of this interpreter to `stream` (standard error when None).

    Returns the sink, to be flushed when the process ends.
    """
    stream = sys.stderr if stream is None else stream
    console = format is LogFormat.CONSOLE or (format is LogFormat.AUTO and stream.isatty())
    sink = LineSink(stream)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        _Stamp(process),
        _make_safe,
    ]
    render: Processor = _console(stream.isatty()) if console else _render_json
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(level.number),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, sink)),
        cache_logger_on_first_use=True,
    )
    _route_standard_library(sink, shared, render, level)
    return sink


def _route_standard_library(
    sink: LineSink, shared: list[Processor], render: Processor, level: LogLevel
) -> None:
    handler = logging.StreamHandler(sink)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_name_of_record, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.number)
    logging.captureWarnings(capture=True)
    # aiosmtpd logs each command of each session at info, with a password in an AUTH line.
    for noisy in ("mail.log", "mail.debug"):
        logging.getLogger(noisy).setLevel(max(level.number, logging.WARNING))


class _Stamp:
    """Adds who says it: the process and the part of it."""

    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, _: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
        event_dict["logger"] = event_dict.pop("_part", "")
        event_dict["process"] = self._process
        return event_dict


def _name_of_record(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    event_dict["_part"] = event_dict["_record"].name
    return event_dict


@lru_cache(maxsize=512)
def _names_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _make_safe(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    for name, value in event_dict.items():
        if _names_secret(name):
            event_dict[name] = "***"
        elif isinstance(value, str):
            limit = MAX_TRACEBACK if name == "exception" else MAX_TEXT
            if len(value) > limit:
                event_dict[name] = value[:limit] + "…"
        elif isinstance(value, bytes):
            event_dict[name] = value[:MAX_TEXT].decode("utf-8", "backslashreplace")
    return event_dict


def _plain(value: object) -> str:
    return str(value)[:MAX_TEXT]


_HEAD = ("ts", "level", "event", "logger", "process")
_encode = json.JSONEncoder(default=_plain, separators=(",", ":")).encode


def _render_json(_: WrappedLogger, __: str, event_dict: EventDict) -> str:
    head = {name: event_dict.pop(name, "") for name in _HEAD}
    try:
        return _encode({**head, **event_dict})
    except (TypeError, ValueError):  # a key that is no text, a value that holds itself
        return _encode(head | {str(name): _plain(value) for name, value in event_dict.items()})


def _console(colours: bool) -> Processor:
    renderer = structlog.dev.ConsoleRenderer(
        colors=colours,
        timestamp_key="ts",
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
    )

    def render(logger: WrappedLogger, method: str, event_dict: EventDict) -> str:
        traceback = event_dict.pop("exception", None)
        for name, value in event_dict.items():
            if not isinstance(value, int | float):
                event_dict[name] = _visible(_plain(value))
        line = str(renderer(logger, method, event_dict))
        if traceback is None:
            return line
        # Indented, so that no line of a traceback can pass for a log line of its own.
        return "\n    | ".join([line, *(_visible(part) for part in str(traceback).split("\n"))])

    return render


def _visible(text: str) -> str:
    # Controls, line separators, bidirectional overrides and lone surrogates are not printable.
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
