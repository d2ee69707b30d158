"""
Parsers of the values of options. The error for a wrong value is one sentence: what is allowed.

Typer's own checks would use the words of the library below it. Typer calls a parser for the default
value, too.
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

Word = TypeVar("Word", bound=StrEnum)

# Control characters except the tab, and the line separators of Unicode.
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST_REASON = 500  # characters: it is stored in every record that an order changes


def one_of(option: str, kind: type[Word]) -> Callable[[object], Word]:
    """Return a parser for one of a few words."""

    def read(value: object) -> Word:
        for each in kind:
            if str(value) == each.value:
                return each
        raise wrong(option, listed(each.value for each in kind), value)

    return read


def whole(option: str, least: int, most: int | None = None) -> Callable[[object], int]:
    """Return a parser for a whole number in a range."""
    allowed = f"a whole number from {least} {_up_to(most)}"

    def read(value: object) -> int:
        text = str(value)
        # Python would read longer numbers, too, but nobody means them.
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise wrong(option, allowed, value)
        number = int(text)
        if number < least or (most is not None and number > most):
            raise wrong(option, allowed, value)
        return number

    return read


def decimal(option: str, least: float, most: float | None = None) -> Callable[[object], float]:
    """Return a parser for a number in a range."""
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
    """Return a parser for a duration above zero."""
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
    """Return a parser for a path; an empty one would silently mean the current folder."""

    def read(value: object) -> Path:
        if not str(value):
            raise CommandError(f"{option} takes a path, and got an empty one", code=2)
        return Path(str(value))

    return read


def reason(value: object) -> str:
    """Read the reason for an order: one short line of text, since it is stored in records."""
    text = str(value)
    if len(text) > _LONGEST_REASON or not is_text(text) or not text.isprintable():
        raise CommandError(
            f"--reason takes one line of at most {_LONGEST_REASON} characters", code=2
        )
    return text


def is_text(text: str) -> bool:
    """Whether a word of the command line is UTF-8; Python turns other octets into surrogates."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def one_line(text: str) -> bool:
    """Whether a word of the command line is one line of text, as a header field needs."""
    return is_text(text) and not _CONTROLS.search(text)


def listed(words: Iterable[str]) -> str:
    """Return words as a list in a sentence: `a, b or c`."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def wrong(option: str, allowed: str, value: object) -> CommandError:
    """Return the error for a wrong value of an option."""
    return CommandError(f"{option} takes {allowed}, not {str(value)!r}", code=2)


def _up_to(most: float | None) -> str:
    return "on" if most is None else f"to {most:g}"
