"""
What flags take, read by parsers of ours: a wrong value is one sentence that says what is allowed.

Typer would check them too, and says so in the words of the library that it uses for it. A parser is
also given the default.
"""

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import TypeVar

from postroad.cli.errors import CommandError
from postroad.units.quantities import format_duration, parse_duration

Kind = TypeVar("Kind", bound=StrEnum)

# Controls but the tab, and what Unicode takes for a line end.
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST_REASON = 500  # characters: it stands in every record that an order changes


def one_of(option: str, kind: type[Kind]) -> Callable[[object], Kind]:
    """Return what reads one of a few words."""

    def read(value: object) -> Kind:
        for each in kind:
            if str(value) == each.value:
                return each
        raise wrong(option, listed(each.value for each in kind), value)

    return read


def whole(option: str, least: int, most: int | None = None) -> Callable[[object], int]:
    """Return what reads a whole number in a range."""
    allowed = f"a whole number from {least} {_up_to(most)}"

    def read(value: object) -> int:
        text = str(value)
        # Nobody means a number of twenty digits, which Python would read.
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise wrong(option, allowed, value)
        number = int(text)
        if number < least or (most is not None and number > most):
            raise wrong(option, allowed, value)
        return number

    return read


def decimal(option: str, least: float, most: float | None = None) -> Callable[[object], float]:
    """Return what reads a number in a range."""
    allowed = f"a number from {least:g} {_up_to(most)}"

    def read(value: object) -> float:
        try:
            number = float(str(value))
        except ValueError as error:
            raise wrong(option, allowed, value) from error
        if not isfinite(number) or number < least or (most is not None and number > most):
            raise wrong(option, allowed, value)
        return number

    return read


def duration(option: str, most: timedelta | None = None) -> Callable[[object], timedelta]:
    """Return what reads a length of time, which is more than none."""
    allowed = "a duration such as 30s, 15m or 2d"
    if most is not None:
        allowed += f", {format_duration(most)} at most"

    def read(value: object) -> timedelta:
        try:
            length = value if isinstance(value, timedelta) else parse_duration(str(value))
        except ValueError as error:
            raise wrong(option, allowed, value) from error
        if not length or (most is not None and length > most):
            raise wrong(option, allowed, value)
        return length

    return read


def path(option: str) -> Callable[[object], Path]:
    """Return what reads a path; an empty one is a slip, and would be the current folder."""

    def read(value: object) -> Path:
        if not str(value):
            raise CommandError(f"{option} takes a path, and got an empty one", code=2)
        return Path(str(value))

    return read


def reason(value: object) -> str:
    """Read why an order is given: it goes into records, where text has to be text, and short."""
    text = str(value)
    if len(text) > _LONGEST_REASON or not is_text(text) or not text.isprintable():
        raise CommandError(
            f"--reason takes one line of at most {_LONGEST_REASON} characters", code=2
        )
    return text


def is_text(text: str) -> bool:
    """Whether a word of the command line is UTF-8: for other octets Python has surrogates."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def one_line(text: str) -> bool:
    """Whether a word of the command line is text that a header field may have: one line of it."""
    return is_text(text) and not _CONTROLS.search(text)


def listed(words: Iterable[str]) -> str:
    """Return words as a sentence lists them: `a, b or c`."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def wrong(option: str, allowed: str, value: object) -> CommandError:
    """Return what is said of a value that a flag does not take."""
    return CommandError(f"{option} takes {allowed}, not {str(value)!r}", code=2)


def _up_to(most: float | None) -> str:
    return "on" if most is None else f"to {most:g}"
