"""
Renders log lines as JSON in one step.

Every message causes log lines, so their cost is part of the cost of a message. This module caches
the parts of a line that never change and encodes each text by itself. A chain of structlog
processors with one encoder for the whole line took twice as long.
"""

import json
import time
from json.encoder import encode_basestring_ascii as quoted
from math import isfinite

import structlog
from structlog.typing import EventDict, WrappedLogger

from postroad.telemetry.lines.fields import MAX_TEXT, current_trace, limit_of, names_secret, plain

_HEAD = frozenset({"ts", "level", "event", "logger", "process"})
_MOST_NAMES = 512  # cached; there are some fifty field names

_encode = json.JSONEncoder(default=plain, separators=(",", ":")).encode


class JsonLines:
    """Renders events of one process, as structlog's last and only processor."""

    def __init__(self, process: str) -> None:
        self._process = f',"process":{quoted(process)}'
        self._starts: dict[str, tuple[str, int]] = {}
        self._second = 0
        self._second_text = ""

    def __call__(self, logger: WrappedLogger, method: str, event_dict: EventDict) -> str:
        """Return the line of an event."""
        if "exc_info" in event_dict:
            structlog.processors.format_exc_info(logger, method, event_dict)
        part = event_dict.pop("_part", "")
        line = (
            f'{{"ts":"{self._now()}","level":"{method}","event":{_value(event_dict.pop("event"))}'
            f',"logger":{quoted(part)}{self._process}'
        )
        for name, value in event_dict.items():
            start, limit = self._starts.get(name) or self._start(name)
            if limit == 0:
                line += start
            elif type(value) is str:
                line += start + quoted(value if len(value) <= limit else value[:limit] + "…")
            elif type(value) is int or (type(value) is float and isfinite(value)):
                line += f"{start}{value!r}"
            else:
                line += start + _value(value)
        trace = current_trace()
        if trace and "trace_id" not in event_dict:
            line += f',"trace_id":"{trace}"'
        return line + "}"

    def _start(self, name: object) -> tuple[str, int]:
        """
        Return the beginning of a field and the limit of its text.

        With limit 0 the beginning is all that is written.
        """
        text = str(name)
        if text in _HEAD:
            return "", 0  # the caller cannot override the fields of the head
        key = f",{quoted(text)}:"
        start = (f'{key}"***"', 0) if names_secret(text) else (key, limit_of(text))
        if len(self._starts) < _MOST_NAMES:
            self._starts[text] = start
        return start

    def _now(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{int((now - second) * 1_000_000):06d}Z"


def _value(value: object) -> str:
    if isinstance(value, bytes):
        value = value[:MAX_TEXT].decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return quoted(value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + "…")
    try:
        return _encode(value)
    except (TypeError, ValueError):  # a key that is no text, or a circular value
        return quoted(plain(value))
