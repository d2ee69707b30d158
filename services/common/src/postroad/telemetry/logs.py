"""
Structured logs on standard error: JSON for machines, readable lines on a terminal.

Every line is one event with the fields of `lines.fields`. Three rules hold for every line, also for
those of libraries that use `logging` (nats, aiosmtpd, asyncio):

- A peer's text can neither forge nor hide a line, nor control a terminal. JSON is ASCII. The
  console format escapes control and bidirectional characters. Texts are cut at 2,000 characters.
- A secret is never shown: neither a `Secret` nor a field whose name says that it is secret.
- A level that is off costs one call of an empty function.

The event loop never waits for the reader of standard error (`lines.sink`).
"""

import logging
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from postroad.telemetry.lines.console import ConsoleLines
from postroad.telemetry.lines.fields import MAX_TEXT, current_trace, limit_of, names_secret
from postroad.telemetry.lines.json import JsonLines
from postroad.telemetry.lines.sink import LineSink

Logger = FilteringBoundLogger


class LogLevel(StrEnum):
    """The lowest level that is written."""

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


def get_logger(module: str) -> Logger:
    """
    Return the logger of a module; `module` is its `__name__`, logged without `postroad.`.

    Bind the fields that a whole session or attempt shares once (`log.bind(queue_id=...)`) and keep
    the result: binding costs more than a line whose level is off. Do not bind at import, because a
    bound logger keeps the configuration of that moment.
    """
    # structlog uses `logger` as a parameter's name; the renderers rename `_part` to it.
    logger: Logger = structlog.get_logger(_part=module.removeprefix("postroad."))
    return logger


def for_people(format: LogFormat, stream: TextIO | None = None) -> bool:
    """Whether the lines are in the console format; `stream` defaults to standard error."""
    stream = sys.stderr if stream is None else stream
    return format is LogFormat.CONSOLE or (format is LogFormat.AUTO and stream.isatty())


def configure(
    process: str,
    *,
    level: LogLevel = LogLevel.INFO,
    format: LogFormat = LogFormat.AUTO,
    stream: TextIO | None = None,
) -> LineSink:
    """
    Send every log of this process to `stream` (standard error when None).

    Returns the sink; close it when the process ends.
    """
    stream = sys.stderr if stream is None else stream
    sink = LineSink(stream)
    if for_people(format, stream):
        lines = _console_lines(process, stream.isatty() and not os.environ.get("NO_COLOR"))
    else:
        lines = [JsonLines(process)]
    structlog.configure(
        processors=lines,
        wrapper_class=_wrapper(level),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=True,
    )
    _route_standard_library(sink, lines, level)
    return sink


class _ToSink:
    """
    A faster last step for structlog's bound loggers.

    The result of the processors goes straight to the sink. Structlog itself would copy the fields
    twice, check the type of the result, and look up the logger's method by name.
    """

    _context: dict[str, object]
    _processors: Sequence[Processor]
    _logger: LineSink

    def _proxy_to_logger(
        self, method_name: str, event: str | None = None, **fields: object
    ) -> None:
        line: Any = {**self._context, **fields, "event": event}
        try:
            for process in self._processors:
                line = process(self._logger, method_name, line)
        except structlog.DropEvent:
            return
        self._logger.write(f"{line}\n")


def _wrapper(level: LogLevel) -> type[FilteringBoundLogger]:
    return type("Logger", (_ToSink, structlog.make_filtering_bound_logger(level.number)), {})


def _route_standard_library(sink: LineSink, lines: Sequence[Processor], level: LogLevel) -> None:
    handler = logging.StreamHandler(sink)
    handler.addFilter(lambda record: _is_told(record, level))
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


def _is_told(record: logging.LogRecord, level: LogLevel) -> bool:
    """Whether a line from `logging` is written: warnings and above, or all at level debug."""
    return level is LogLevel.DEBUG or record.levelno >= logging.WARNING


def _name_of_record(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    event_dict["_part"] = event_dict["_record"].name
    return event_dict


def _console_lines(process: str, colours: bool) -> list[Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False, key="ts"),
        structlog.processors.format_exc_info,
        _Stamp(process),
        _make_safe,
        ConsoleLines(colours),
    ]


class _Stamp:
    """Adds the logger, the process and the trace."""

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
