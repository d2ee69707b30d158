"""
Structured logs on standard error: JSON lines for machines, aligned colours on a terminal.

Every line is one event with the fields of `log_fields`. Three rules hold for every line, whoever
wrote it (the standard library's loggers of nats, aiosmtpd and asyncio come out here too):

- A peer's text cannot make a line, hide one or steer a terminal. JSON is written in ASCII, and the
  readable format shows control and bidirectional characters as escapes; texts are cut at 2,000
  characters.
- A secret is never shown: `Secret` values, and any field whose name says that it is one.
- A level that is off costs one call of an empty function.

The event loop never waits for whoever reads standard error (`log_sink`).
"""

import logging
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from postroad.mail.visible import visible
from postroad.runtime.log_fields import MAX_TEXT, current_trace, limit_of, names_secret, plain
from postroad.runtime.log_json import JsonLines
from postroad.runtime.log_sink import LineSink

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
    # `logger` is taken as a parameter's name there; the renderers put the field right.
    logger: Logger = structlog.get_logger(_part=name, **fields)
    return logger


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
    lines = _console_lines(process, stream.isatty()) if console else [JsonLines(process)]
    structlog.configure(
        processors=lines,
        wrapper_class=structlog.make_filtering_bound_logger(level.number),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, sink)),
        cache_logger_on_first_use=True,
    )
    _route_standard_library(sink, lines, level)
    return sink


def _route_standard_library(sink: LineSink, lines: Sequence[Processor], level: LogLevel) -> None:
    handler = logging.StreamHandler(sink)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_name_of_record],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *lines],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.number)
    logging.captureWarnings(capture=True)
    # aiosmtpd logs each command of each session at info, with a password in an AUTH line.
    for noisy in ("mail.log", "mail.debug"):
        logging.getLogger(noisy).setLevel(max(level.number, logging.WARNING))


def _name_of_record(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    event_dict["_part"] = event_dict["_record"].name
    return event_dict


def _console_lines(process: str, colours: bool) -> list[Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        _Stamp(process),
        _make_safe,
        _console(colours),
    ]


class _Stamp:
    """Adds who says it, the process and the part of it, and the trace it belongs to."""

    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, _: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
        event_dict["logger"] = event_dict.pop("_part", "")
        event_dict["process"] = self._process
        if trace := current_trace():
            event_dict.setdefault("trace_id", trace)
        return event_dict


def _make_safe(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    for name, value in event_dict.items():
        if names_secret(name):
            event_dict[name] = "***"
        elif isinstance(value, str):
            if len(value) > limit_of(name):
                event_dict[name] = value[: limit_of(name)] + "…"
        elif isinstance(value, bytes):
            event_dict[name] = value[:MAX_TEXT].decode("utf-8", "backslashreplace")
    return event_dict


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
                event_dict[name] = visible(plain(value))
        line = str(renderer(logger, method, event_dict))
        if traceback is None:
            return line
        # Indented, so that no line of a traceback can pass for a log line of its own.
        return "\n    | ".join([line, *(visible(part) for part in str(traceback).split("\n"))])

    return render
