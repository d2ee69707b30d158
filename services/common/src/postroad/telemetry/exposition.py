"""
The formats of /metrics, and the merging of several processes' pages into one.

The Accept field of a request chooses OpenMetrics or the older text format, which is the default.

`postroad up` serves one /metrics for all its children, where each series has the label `process`.
Both formats require all series of a metric family to be together under one HELP and TYPE. So the
pages are split by family and merged. The numbers stay text, so nothing is rounded.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

_COMMENT = re.compile(r"# (HELP|TYPE|UNIT) (\S+)")
_END = "# EOF"  # of a page of OpenMetrics
_SAMPLE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})?( .+)", re.DOTALL)
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Format(Enum):
    """A format of the page; the value is its media type."""

    TEXT = "text/plain"
    OPENMETRICS = "application/openmetrics-text"

    @property
    def content_type(self) -> str:
        """The media type with its parameters, for Content-Type and Accept."""
        version = "1.0.0" if self is Format.OPENMETRICS else "0.0.4"
        return f"{self.value}; version={version}; charset=utf-8"


def negotiate(accept: str) -> Format:
    """Return the format that an Accept field (RFC 9110 §12.5.1) prefers; text without one."""
    liked = {Format.TEXT: 0.0, Format.OPENMETRICS: 0.0}
    for each in accept.split(","):
        media, *parameters = (part.strip() for part in each.lower().split(";"))
        weights = [part[2:] for part in parameters if part.startswith("q=")]
        for known in Format:
            if media == known.value:
                liked[known] = max(liked[known], _weight(weights[-1] if weights else "1"))
    return max(liked, key=lambda known: liked[known])  # the first of equals: text


def _weight(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0


@dataclass(slots=True)
class _Family:
    comments: dict[str, str] = field(
        default_factory=dict
    )  # HELP, TYPE and UNIT, the first that came
    samples: list[str] = field(default_factory=list)


def merge(pages: Mapping[str, str]) -> str:
    """Merge `pages`, given by process name and all in one format, into one page."""
    families: dict[str, _Family] = {}
    ends = []
    for process, page in pages.items():
        label = f'process="{process.translate(_ESCAPES)}"'
        _add(page, label, families)
        ends += [_END] if page.endswith(f"{_END}\n") else []
    return "".join(f"{line}\n" for line in (*_lines(families), *ends[:1]))


def _add(page: str, label: str, families: dict[str, _Family]) -> None:
    current, name = _Family(), ""
    for line in page.split("\n"):
        if comment := _COMMENT.match(line):
            kind, name = comment.groups()
            current = families.setdefault(name, _Family())
            current.comments.setdefault(kind, line)
        elif sample := _SAMPLE.fullmatch(line):
            series, labels, value = sample.groups()
            if not name or not series.startswith(name):
                # A sample without a TYPE of its own is a family by itself.
                current, name = families.setdefault(series, _Family()), series
            merged = f"{label},{labels}" if labels else label
            current.samples.append(f"{series}{{{merged}}}{value}")


def _lines(families: Mapping[str, _Family]) -> Iterator[str]:
    for family in families.values():
        if family.samples:
            yield from family.comments.values()
            yield from family.samples
