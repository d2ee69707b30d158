"""
Parsers for amounts: durations `1h30m`, sizes `10Gi`, rates `1000/1m`.

Durations have Go's syntax, and days as well, since mail waits for days. Sizes are Kubernetes
quantities. Each parser returns a value, or raises ValueError with a sentence that shows a valid
example.
"""

import re
from datetime import timedelta
from decimal import Decimal
from typing import NewType

ByteSize = NewType("ByteSize", int)

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_PART = r"[0-9]{1,9}(?:\.[0-9]{1,3})?(?:ms|s|m|h|d)"
LONGEST_DURATION = 32  # characters; no useful duration needs more
DURATION_PATTERN = rf"^0$|^(?:{_PART})+$"
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_PART})+")

QUANTITY_PATTERN = r"^[0-9]{1,18}(?:\.[0-9]{1,9})?(?:k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_SUFFIXES = {
    suffix: base**power
    for base, suffixes in (
        (1000, ("", "k", "M", "G", "T", "P")),
        (1024, ("Ki", "Mi", "Gi", "Ti", "Pi")),
    )
    for power, suffix in enumerate(suffixes, start=0 if base == 1000 else 1)
}

_MOST_SHOWN = 60  # characters of a text in an error message
LONGEST_RATE = 13 + LONGEST_DURATION
RATE_PATTERN = rf"^[0-9]{{1,12}}/(?:{_PART})+$"


def parse_duration(text: str) -> timedelta:
    """Read `250ms`, `15m`, `1h30m`, `5d`, or `0`; a number without a unit is refused."""
    if text == "0":
        return timedelta()
    if len(text) > LONGEST_DURATION or not _DURATION.fullmatch(text):
        raise ValueError(f"{_shown(text)} is not a duration; write it like 30s, 15m, 1h30m or 5d")
    try:
        return sum(
            (float(count) * _UNITS[unit] for count, unit in _DURATION_PART.findall(text)),
            timedelta(),
        )
    except OverflowError:
        raise ValueError(f"{_shown(text)} is too long a duration") from None


def format_duration(duration: timedelta) -> str:
    """Write a duration as `parse_duration` reads it, largest units first."""
    left = duration
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, left = divmod(left, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_quantity(text: str) -> int:
    """Read a size in bytes: `500k` and `50M` are powers of 1000, `128Ki` and `10Gi` of 1024."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{_shown(text)} is not a size; write it like 1048576, 500M or 10Gi")
    return int(Decimal(match[1]) * _SUFFIXES[match[2] or ""])


def parse_size(text: str) -> ByteSize:
    """Read a size in bytes: 512, 128KiB, 50MB (millions) or 10Gi (powers of 1024)."""
    try:
        return ByteSize(parse_quantity(text.removesuffix("B")))
    except ValueError:
        raise ValueError(
            f"{_shown(text)} is not a size such as 512, 128KiB, 50MB or 10Gi"
        ) from None


def parse_rate(text: str) -> tuple[int, timedelta]:
    """Read `1000/1m`: a count and the window in which it is allowed."""
    count, slash, window = text.partition("/")
    if not slash or not (count.isascii() and count.isdigit()) or len(count) > 12:
        raise ValueError(f"{_shown(text)} is not a rate; write it like 1000/1m")
    length = parse_duration(window)
    if not int(count) or length <= timedelta():
        raise ValueError(f"{_shown(text)} would let nothing through; write it like 1000/1m")
    return int(count), length


def _shown(text: str) -> str:
    """Return a text for an error message, cut if it is long."""
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}...")
