"""
Renders log lines for a terminal: the time of day, the process, the event, and its fields.

Lines are short, to fit on a terminal: the level and the logger are written only when the level is
not `info`. POSTROAD_LOG_FORMAT=json writes everything, and times to the microsecond.
"""

import re
from collections.abc import MutableMapping
from typing import Any

from postroad.mail.visible import visible
from postroad.telemetry.lines.fields import plain

_RESET, _BOLD, _DIM = "\033[0m", "\033[1m", "\033[2m"
_COLOURS = {"warning": "\033[33m", "error": "\033[31m", "critical": "\033[1;31m"}
_BARE = re.compile(r'[^\s"=]+')
_PROCESS_WIDTH = 10


class ConsoleLines:
    """Renders an event as a line, with colours if the terminal has them."""

    def __init__(self, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _: object, __: str, event_dict: MutableMapping[str, Any]) -> str:
        """Return the line, with the lines of a traceback indented below it."""
        traceback = event_dict.pop("exception", None)
        level = str(event_dict.pop("level", "info"))
        part = event_dict.pop("logger", "")
        head = [
            self._in(_DIM, str(event_dict.pop("ts", ""))),
            visible(plain(event_dict.pop("process", ""))).ljust(_PROCESS_WIDTH),
        ]
        if level != "info":
            head.append(self._in(_COLOURS.get(level, _DIM), level))
        head.append(self._in(_BOLD, visible(plain(event_dict.pop("event", "")))))
        fields = [f"{visible(name)}={_shown(value)}" for name, value in event_dict.items()]
        if level != "info" and part:
            fields.append(self._in(_DIM, f"[{visible(plain(part))}]"))
        line = " ".join([*head, *fields])
        if traceback is None:
            return line
        # Indented, so that no line of a traceback looks like a log line.
        return "\n    | ".join([line, *(visible(part) for part in str(traceback).split("\n"))])

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colours else text


def _shown(value: object) -> str:
    """Return a value as one word, in quotes if it has blanks or quotes."""
    if isinstance(value, dict):
        value = " ".join(f"{name}={plain(each)}" for name, each in value.items())
    text = visible(plain(value))
    if _BARE.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
