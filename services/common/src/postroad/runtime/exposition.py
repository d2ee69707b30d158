"""
Several processes' metrics on one page: each series gets the label `process`.

`postroad up` serves one /metrics for all its children. The Prometheus text format wants all series
of a family together under one HELP and TYPE, so the pages are taken apart by family and put
together again; the numbers are never read, so nothing is rounded.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_COMMENT = re.compile(r"# (HELP|TYPE) (\S+)")
_SAMPLE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})?( .+)", re.DOTALL)
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(slots=True)
class _Family:
    comments: dict[str, str] = field(default_factory=dict)  # HELP and TYPE, the first that came
    samples: list[str] = field(default_factory=list)


def merge(pages: Mapping[str, str]) -> str:
    """Return one page of the text format out of `pages`, by process name."""
    families: dict[str, _Family] = {}
    for process, page in pages.items():
        label = f'process="{process.translate(_ESCAPES)}"'
        _add(page, label, families)
    return "".join(f"{line}\n" for line in _lines(families))


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
