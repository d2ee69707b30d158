"""
How values are printed: JSON lines for programs, text for people.

Each kind of value has the same form everywhere. A time is UTC to the millisecond in JSON
(RFC 3339), relative to now in tables, and local time in other text.
"""

import json
import sys
from datetime import UTC, datetime, timedelta
from enum import Enum

from postroad.mail.visible import visible_json


def print_json(row: object) -> None:
    """Print one row as one line of JSON; in ASCII unless standard output is in UTF-8."""
    ascii_alone = not _is_utf8(sys.stdout.encoding)
    print(visible_json(json.dumps(row, default=_plain, ensure_ascii=ascii_alone)), flush=True)


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("-", "") == "utf8"


def encodable(text: str) -> str:
    """Return text as standard output can show it: with escapes for what its encoding lacks."""
    encoding = sys.stdout.encoding
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def stamp(moment: datetime) -> str:
    """Return a time as local time, to the millisecond."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3]


def ago(moment: datetime, now: datetime) -> str:
    """Return a time relative to now: `12s ago`, `in 4m`."""
    text = short(abs(moment - now))
    return f"in {text}" if moment > now else f"{text} ago"


def short(span: timedelta) -> str:
    """Return a duration in its largest unit: `45s`, `12m`, `3h`, `5d`."""
    seconds = int(span.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def size(octets: int) -> str:
    """Return a size in its largest unit: `812 B`, `4.0 KiB`, `50.0 MiB`."""
    amount = float(octets)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError("unreachable: the last unit always returns")
